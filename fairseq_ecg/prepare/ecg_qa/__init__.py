"""ECG-QA (Oh et al. 2023, https://arxiv.org/abs/2306.15681): questions about ECGs, with answers.

`project` reads the files of the project, `recordings` the ECGs that they ask about. `questions`
makes of them what question answering is trained on, `grounding` what a classifier is.
"""

"""Languages of reports: recognised by their words, translated into the vocabulary's, or refused.

``README.md`` describes the files, one a language.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from fairseq_ecg.errors import DataError
from fairseq_ecg.labeler.document import Fields, Items, read_document
from fairseq_ecg.labeler.memory import Memory
from fairseq_ecg.labeler.rewriting import STATEMENT_END, Cut, LeadList, Rule, Spelling
from fairseq_ecg.labeler.rules import read_rules_in
from fairseq_ecg.labeler.terms import Vocabulary

FOLDER = Path(__file__).with_name("languages")
ENGLISH = "en"
"""The language of vocabularies."""
LATIN = "latin"

# A word, or an abbreviation such as "v. a.".
_WORD = re.compile(r"\b[^\W\d_]\. ?[^\W\d_]\b|[^\W\d_]+")
_LISTED_WORD = re.compile(r"\*?[^\W\d_]+|[^\W\d_]+\*|[^\W\d_]\.[^\W\d_]\.")
_CODE = re.compile("[a-z]{2,3}")
_ANY = "*"

# Between sentences of one statement. Few abbreviations have so many letters; those that do stand
# beside words of their language.
_SENTENCE_END = re.compile(r"(?<=\w\w[\w)])[.!] +(?=\w)")

# Of shorter words too many begin and end alike in several languages.
_SHORTEST_WITH_AFFIX = 6


# Rules that look beyond a statement, and what to do without them.
_OF_REPORTS = (
    (Cut, "cut", "replace by a regex what is not to be read"),
    (LeadList, "lead_list", "translate the list by a regex; the vocabulary's rules read it"),
)


@dataclass(frozen=True, eq=False)
class Language:
    """A language, and how its reports become such as the vocabulary's patterns are written for.

    Attributes:
        code: of ISO 639; of a script that belongs to no language here, its name in lower case.
        name: for readers.
        words: by which it is recognised, folded (see ``fold``).
        beginnings: of words that are such words too.
        endings: of words that are such words too.
        letters: with diacritics or beyond the alphabet, that speak for it as words do.
        script: of its words.
        path: its file.
        rewriting: in the file, what ``rules`` are read from; None: the language is recognised, but
            not read.
    """

    code: str
    name: str
    words: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    letters: str = ""
    script: str = LATIN
    path: Path = field(default=FOLDER, repr=False)
    rewriting: Items | None = None

    @property
    def is_read(self) -> bool:
        """Whether there are rules for it."""
        return self.rewriting is not None

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Rules from a statement in lower case to English, read when a report needs them.

        Raises:
            DataError: naming file, line and fault.
        """
        if self.rewriting is None:
            return ()
        rules = read_rules_in(self.rewriting, self.path, self.path.parent)
        for i, rule in enumerate(rules):
            for kind, name, remedy in _OF_REPORTS:
                if isinstance(rule, kind):
                    raise DataError(
                        f"{self.rewriting.location(i)}: {name!r} is for reports, and these rules "
                        f"see one statement at a time; {remedy}"
                    )
        return rules

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset(self.words)

    def lists(self, word: str) -> bool:
        """Return whether a folded word is listed as it is."""
        return word in self._listed

    def has(self, word: str) -> bool:
        """Return whether a folded word is one of its words."""
        if self.lists(word):
            return True
        return len(word) >= _SHORTEST_WITH_AFFIX and (
            word.startswith(self.beginnings) or word.endswith(self.endings)
        )

    def translate(self, statement: str) -> str:
        """Translate a statement into English, as far as the rules go."""
        text = statement.lower()
        for rule in self.rules:
            text = rule.apply(text, set())
        return text.strip()


def fold(text: str) -> str:
    """Return a text in lower case and without diacritics, as words are compared."""
    if text.isascii():
        return text.lower()
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))


def read_languages(folder: Path = FOLDER) -> tuple[Language, ...]:
    """Read the files of a folder, one a language, in the order of their names.

    Args:
        folder: with files named by codes of ISO 639, as ``de.yaml``.

    Returns:
        The languages.

    Raises:
        DataError: naming file, line and fault.
    """
    languages = _files(folder)
    for language in languages:
        _ = language.rules
    return languages


@cache
def known_languages() -> tuple[Language, ...]:
    """Return the languages that come with the package; rules are read when they are needed."""
    return _files(FOLDER)


def _files(folder: Path) -> tuple[Language, ...]:
    return tuple(_read(path) for path in sorted(folder.glob("*.yaml")))


def _read(path: Path) -> Language:
    if not _CODE.fullmatch(path.stem):
        raise DataError(f"{path}: name the file by the code of its language in ISO 639, as de.yaml")
    document = read_document(path)
    if not isinstance(document, Fields):
        raise DataError(f"{path}: must be a mapping")
    document.expect(("name", "words"), ("letters", "rewriting"))
    words = _words(document)
    return Language(
        code=path.stem,
        name=document.text("name"),
        words=tuple(word for word in words if _ANY not in word),
        beginnings=tuple(word[:-1] for word in words if word.endswith(_ANY)),
        endings=tuple(word[1:] for word in words if word.startswith(_ANY)),
        letters=_letters(document),
        script=_script(words[0].strip(_ANY)[0]),
        path=path,
        rewriting=document.get("rewriting"),
    )


def _words(document: Fields) -> list[str]:
    words = document.texts("words")
    lines: dict[str, str] = {}
    for i, word in enumerate(words):
        location = document["words"].location(i)
        if word != word.lower() or not _LISTED_WORD.fullmatch(word):
            raise DataError(
                f"{location}: {word!r} must be one word in lower case, of letters alone, with * at "
                "one end for any letters; or an abbreviation such as v.a."
            )
        if word in lines:
            raise DataError(f"{location}: {word!r} is already in {lines[word]}")
        lines[word] = location
    if not words:
        raise DataError(
            f"{document.location('words')}: no words; none of its reports is recognised"
        )
    return [_as_compared(fold(word)) for word in words]


def _letters(document: Fields) -> str:
    letters = document.text("letters") if "letters" in document else ""
    for letter in letters:
        if letter.isascii() or not letter.isalpha() or letter != letter.lower():
            raise DataError(
                f"{document.location('letters')}: {letter!r} must be a letter in lower case that "
                "English does not have"
            )
    return letters


def _as_compared(word: str) -> str:
    """Return an abbreviation without blanks and the last point, a word as it is."""
    return word.replace(" ", "").removesuffix(".")


class Translated(NamedTuple):
    """A report as the labeler reads it.

    Attributes:
        text: in English, as far as it could be translated.
        language: of the report; None for English.
    """

    text: str
    language: Language | None = None


class _Evidence(NamedTuple):
    """How many words of a text are English alone, and how many another language's.

    Attributes:
        english: number of words that are English and of no other language.
        others: numbers of words of other languages.
        listed: of these, words that the language lists as they are.
    """

    english: int
    others: Mapping[Language, int]
    listed: Mapping[Language, int]


class Translator:
    """Recognises the language of reports and translates them into English.

    Args:
        languages: that it knows, English among them.
        vocabulary: whose words are no sign of another language.
    """

    def __init__(self, languages: Iterable[Language], vocabulary: Vocabulary):
        known = {language.code: language for language in languages}
        english = known.pop(ENGLISH, None)
        self._english = frozenset(english.words if english else ())
        self._vocabulary = _words_of(vocabulary)
        self._others = tuple(known.values())
        self._of_letter: dict[str, list[Language]] = {}
        for language in self._others:
            for letter in language.letters:
                self._of_letter.setdefault(letter, []).append(language)
        self._words: Memory[_Evidence] = Memory()
        self._evidence: Memory[_Evidence] = Memory()
        self._english_statements: Memory[None] = Memory()
        self._translations: dict[str, Memory[str]] = {code: Memory() for code in known}

    def translate(self, report: str) -> Translated:
        """Translate a report.

        Args:
            report: any text, without line ends.

        Returns:
            The report in English. Its language is that which most of its words speak for; a
            sentence that speaks for another one is read as one of that, or left out where that is
            not read.
        """
        statements = report.split(STATEMENT_END)
        if all(map(self._english_statements.__contains__, statements)):
            return Translated(report)
        evidence = [self._evidence.get(part) or self._weigh(part) for part in statements]
        if not any(item.others for item in evidence):
            return Translated(report)
        language = _decide(evidence)
        if language is not None and not language.is_read:
            return Translated(report, language)
        parts = [self._translated(part, language) for part in statements]
        return Translated(STATEMENT_END.join(parts), language)

    def language_of(self, statement: str, language: Language | None) -> Language | None:
        """Return the language of a statement of a report that is in some language.

        As many words of another language as of English are enough: names of people are seldom
        listed, and a denial is often one word ("kein infarct seen").
        """
        evidence = self._evidence.get(statement) or self._weigh(statement)
        return (_decide([evidence], language, ties=True) if evidence.others else None) or language

    def _translated(self, statement: str, language: Language | None) -> str:
        """Translate each run of sentences in one language on its own."""
        if not (self._evidence.get(statement) or self._weigh(statement)).others:
            return self._translation(statement, language)
        runs: list[tuple[Language | None, list[str]]] = []
        for sentence in _SENTENCE_END.split(statement):
            evidence = self._evidence.get(sentence) or self._weigh(sentence)
            own = self.language_of(sentence, None if evidence.english else language)
            if runs and (runs[-1][0] is own or not (evidence.english or evidence.others)):
                runs[-1][1].append(sentence)
            else:
                runs.append((own, [sentence]))
        return STATEMENT_END.join(self._translation(". ".join(run), own) for own, run in runs)

    def is_foreign(self, word: str) -> bool:
        """Return whether a word in lower case is another language's, and not English."""
        word = fold(word)
        return bool((self._words.get(word) or self._weigh_word(word)).others)

    def _translation(self, statement: str, language: Language | None) -> str:
        if language is None:
            return statement
        if not language.is_read:
            return ""
        memory = self._translations[language.code]
        translation = memory.get(statement)
        if translation is None:
            translation = memory.remember(statement, language.translate(statement))
        return translation

    def _weigh(self, statement: str) -> _Evidence:
        english, others, listed = 0, Counter(), Counter()
        for word in map(_as_compared, _WORD.findall(fold(statement))):
            item = self._words.get(word) or self._weigh_word(word)
            english += item.english
            others.update(item.others)
            listed.update(item.listed)
        if not statement.isascii():
            for word in _WORD.findall(statement.lower()):
                others.update({item for letter in word for item in self._of_letter.get(letter, ())})
        if not others:
            self._english_statements.remember(statement, None)
        return self._evidence.remember(statement, _Evidence(english, others, listed))

    def _weigh_word(self, word: str) -> _Evidence:
        """Return what a folded word speaks for; what languages share with English is nothing."""
        others: dict[Language, int] = {}
        english = 0
        if len(word) > 1 or not word.isascii():
            others = {item: 1 for item in self._others if item.has(word)}
            english = int(word in self._english and not others)
            if word in self._english or word in self._vocabulary:
                others = {}
        if not word.isascii() and (script := _foreign_script(word)):
            others[script] = _weight(word)
        listed = {item: count for item, count in others.items() if item.lists(word)}
        return self._words.remember(word, _Evidence(english, others, listed))


def _words_of(vocabulary: Vocabulary) -> frozenset[str]:
    """Return the words that patterns are written in, and those that spelling is corrected to."""
    texts = [pattern.text for pattern in vocabulary.patterns]
    for rule in vocabulary.rewriting:
        texts += rule.words if isinstance(rule, Spelling) else ()
    return frozenset(_WORD.findall(fold(" ".join(texts))))


def _decide(
    evidence: Iterable[_Evidence], expected: Language | None = None, *, ties: bool = False
) -> Language | None:
    """Return the language of some statements; None: English.

    Of languages that share their words it is the one that is expected, or one that is read and
    lists most of them.

    Args:
        evidence: of each statement.
        expected: language of the report.
        ties: as many words of another language as of English speak for it.
    """
    english, others, listed = 0, Counter(), Counter()
    for item in evidence:
        english += item.english
        others.update(item.others)
        listed.update(item.listed)
    if not others:
        return None

    def rank(item: Language) -> tuple[int, bool, bool, int]:
        return others[item], item is expected, item.is_read, listed[item]

    language = max(others, key=rank)
    is_latin = language.script == LATIN
    if others[language] < english + (not (ties and is_latin)):
        return None
    if is_latin:
        return language
    of_script = [item for item in others if item.script == language.script]
    return max(of_script, key=lambda item: (bool(item.words), others[item]))


def _script(character: str) -> str:
    """Return the script of a letter, in lower case: names of characters begin with it."""
    return unicodedata.name(character, LATIN).partition(" ")[0].lower()


@cache
def _unread(script: str) -> Language:
    """Return what a text in some script is, as long as its language is not known."""
    return Language(code=script, name=script.capitalize(), script=script)


def _foreign_script(word: str) -> Language | None:
    """Return the script of a word that has no Latin letter, or whose script has no words apart."""
    scripts = Counter(map(_script, word))
    latin = scripts.pop(LATIN, 0)
    if not scripts or (latin and _is_cased(word)):
        return None
    return _unread(scripts.most_common(1)[0][0])


def _is_cased(word: str) -> bool:
    return any(letter.upper() != letter for letter in word if not letter.isascii())


def _weight(word: str) -> int:
    """Return how many words to count a word of another script as.

    Scripts without capital letters often write words without blanks between them; one letter, as
    of "µV", is none.
    """
    return int(len(word) > 1) if _is_cased(word) else (len(word) + 1) // 2

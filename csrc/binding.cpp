// The module fairseq_ecg._C: empty for Python; loading it registers the operators of fairseq_ecg_c.
#include <Python.h>

#ifdef FAIRSEQ_ECG_CUDA
#include <torch/library.h>

// Its presence says that kernels for GPUs are compiled in.
TORCH_LIBRARY_FRAGMENT(fairseq_ecg_c, library) {
  library.def("has_cuda() -> bool", [] { return true; });
}
#endif

extern "C" PyObject* PyInit__C(void) {
  static struct PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}

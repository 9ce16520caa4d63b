"""``fairseq-ecg store``, a command for each thing that is done to stores."""

from typing import Annotated

from cyclopts import Parameter

Store = Annotated[str, Parameter(help="folder, or URL that fsspec understands")]

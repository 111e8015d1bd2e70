"""Every shape written down in `training` is checked while its tests run."""

from jaxtyping import install_import_hook

# Modules of `training` imported before this line stay unchecked; nothing collected earlier imports them.
install_import_hook("training", "beartype.beartype")

"""Raw data set -> checked pairs + MONAI data list.

One module a data set (`kvasir_seg`, `cvc_clinicdb`, `folder`, `synthetic`), all with the same face; `registry` names
them. `prepare` is the pipeline: pairs -> `audit` -> `splits` -> `output`. Nothing heavy is imported before it is
needed: `polyp --help` imports `registry`.
"""

"""Raw data set -> checked pairs + MONAI data list.

One module a data set (`kvasir_seg`, `cvc_clinicdb`, `folder`, `synthetic`), all with the same face; `registry` names
them. `command` is the command line, `prepare` the pipeline: pairs -> `audit` (with `duplicates`) -> `splits` ->
`output` and `page`. Nothing heavy is imported before it is needed: `polyp --help` imports `command` and `registry`.
"""

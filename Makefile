# See README.md; `make help` lists the targets.

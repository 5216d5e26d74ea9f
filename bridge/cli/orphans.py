"""What lies in the spool and belongs to nobody in the configuration, found by looking at it from outside."""

from collections.abc import Iterator

from bridge.config.model import Config
from bridge.errors import Problem, SpoolUnusable
from bridge.spool.files import OsFiles
from bridge.spool.spool import LANES
from bridge.spool.survey import survey_log


def orphans(config: Config) -> Iterator[Problem]:
    """A warning for each cursor and each lane without an owner; none when there is no spool. Changes nothing."""
    files, folder = OsFiles(), config.spool_dir / LANES
    try:
        names = sorted(files.folders(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        yield Problem("spool", f"{folder} cannot be looked at: {error.strerror}; check as the user of the service")
        return
    for name in names:
        try:
            survey = survey_log(files, folder / name, name)
        except SpoolUnusable as error:
            yield Problem(f"lanes.{name}", str(error))
            continue
        if not survey.segments:
            continue
        if name not in config.lanes:
            yield Problem(
                f"lanes.{name}",
                "is not configured any more; what is left in it is still delivered. When it is empty: "
                f"edge-bridge queue forget --lane {name}",
            )
        for cursor in sorted(set(survey.cursors) - set(config.takers(name))):
            yield Problem(
                f"sinks.{cursor}",
                f"is not configured any more, and {survey.waiting(cursor):,} events wait for it in lane {name}: "
                f"name a sink so again, or: edge-bridge queue forget --sink {cursor} --lane {name}",
            )

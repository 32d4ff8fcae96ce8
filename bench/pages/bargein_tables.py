"""The tables of barge-in's result files: all rows, and the users by how loud they speak."""

from bench.figures import Column, shown
from bench.pages.tables import Table, table
from bench.speech.bargein import BargeInFile, row_of

DETECT = Column("Detect ms\np50 / p95", lambda row: shown([row.detect_ms_p50, row.detect_ms_p95], 0))
MISSED = Column("Missed", lambda row: f"{row.missed} of {row.interruptions}")
LOST = Column("Words lost", lambda row: f"{row.words_lost} of {row.words}")
FIRST_LOST = Column("First words lost", lambda row: str(row.first_words_lost))
COLUMNS = (
    Column("Reference", lambda row: "yes" if row.reference else "no"),
    Column("Echo dB", lambda row: f"-{row.attenuation_db}"),
    DETECT,
    MISSED,
    Column("False alarms / h", lambda row: shown([row.false_alarms_per_hour], 0)),
    LOST,
    FIRST_LOST,
    Column("Stale", lambda row: str(row.stale)),
    Column("Leaks", lambda row: str(row.leaks)),
)
BY_LEVEL = (Column("User dBFS", lambda row: str(row.level_dbfs)), DETECT, MISSED, LOST, FIRST_LOST)


def bargein_tables(result: BargeInFile) -> tuple[Table, Table]:
    """Return the rows of all levels together, and the interruptions with the reference by the level of the user's speech."""
    everything = [row for row in result.rows if row.level_dbfs is None]
    users = [scene for scene in result.scenes if scene.reference and scene.kind == "user"]
    levels = [
        row_of([scene for scene in users if scene.level_dbfs == level], True, None, level)
        for level in sorted({scene.level_dbfs for scene in users})
    ]
    by_level = "With the reference, at all echoes, by the level of the user's speech"
    return table("Barge-in", COLUMNS, everything), table(by_level, BY_LEVEL, levels)

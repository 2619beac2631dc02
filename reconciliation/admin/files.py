"""What downloads are called, and what they say they are."""

CSV = "text/csv; charset=utf-8"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def as_file(name: str, ending: str) -> dict[str, str]:
    """Headers by which a browser keeps the answer as a file."""
    return {"Content-Disposition": f'attachment; filename="{name}.{ending}"'}

"""What was measured and checked, and the table of it."""


class Report:
    def __init__(self):
        self.lines = []
        self.failed = False

    def measured(self, what, values, target=None, unit="ms"):
        """Times or sizes, against the target for the worst of them; without one they are only told."""
        worst, middle = max(values), sorted(values)[len(values) // 2]
        verdict = "" if target is None else "met" if worst <= target else "MISSED"
        wanted = "" if target is None else f"≤ {target:g} {unit}"
        shown = f"{worst:.0f} {unit}"
        if len(values) > 1:
            shown = f"median {middle:.0f}, most {worst:.0f} {unit} of {len(values)}"
        self.add(what, shown, wanted, verdict)

    def checked(self, what, good, detail=""):
        """A thing that is so, or is not."""
        self.add(what, detail or ("yes" if good else "no"), "yes", "met" if good else "MISSED")

    def broken(self, part, error):
        """A part that did not get to its end."""
        self.add(part, str(error).replace("\n", " ")[:300], "to its end", "FAILED")

    def add(self, what, shown, wanted, verdict):
        self.lines.append((what, shown, wanted, verdict))
        self.failed |= verdict in ("MISSED", "FAILED")
        print(f"  {what}: {shown} {f'({wanted}) {verdict}' if verdict else ''}", flush=True)

    def table(self):
        print("| what | measured | wanted | |")
        print("| --- | --- | --- | --- |")
        for line in self.lines:
            print("| " + " | ".join(text.replace("|", "/") for text in line) + " |")

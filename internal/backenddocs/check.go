package main

import (
	"fmt"
	"strings"

	"trainer/core/conformance"
)

const checkText = `trainer backend check FILE takes a file through the stages of finding, then judges it group by
group: every op of the tier, and every rule below. Each group runs in a child process, so that
a crash, an exit or a hang is the result of the case in which it came.

| state | what |
|---|---|
| pass | as the header and the [tolerances](tolerances.md) have it |
| fail | a rule is broken; it is named, and how to run that case alone |
| unsupported | an op of tier 1 that is not claimed, whose composition passed; or an optional function that is not there |
| expected-fail | a failure that --expected lists, with its reason |
| unexpected-pass | a case that --expected lists and that passes: take the entry out |

The exit code is 0 only without fail and unexpected-pass. Devices that are not deterministic
have every op twice: opened with deterministic = 1, where equal runs must give equal bits, and
with 0, marked (fast). The file of --expected has lines of a case and why it fails; a name that
ends in * stands for all that begin so:

    "matmul/f16 *": "f16 sums are rounded too early; reported to the driver's makers"

- --only GROUP/CASE runs one case, --in_process without a child, for debuggers and sanitizers.
- --report FILE writes Markdown (.md), JSON (.json) or JUnit (.xml), and may be repeated.
- --save_failures DIR writes failing cases of ops as files for trainer backend replay.
- --slow N gives every case N times as long, for emulators and simulators; --note TEXT puts a
  sentence into the reports, as where they were made.
- --seed N makes other cases; equal seeds give equal ones.

Reports on the backends of this tree are in [reports](reports).

## Rules

`

// checkPage lists what a backend is judged by.
func checkPage() string {
	var b strings.Builder
	b.WriteString("# The check\n\n" + madeFrom + checkText + "| rule | a backend keeps it when |\n|---|---|\n")
	for _, d := range conformance.Demands() {
		fmt.Fprintf(&b, "| %s | %s |\n", d.ID, d.Text)
	}
	return b.String()
}

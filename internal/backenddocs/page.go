package main

import (
	"fmt"
	"strings"

	"trainer/core/abi"
	"trainer/core/conformance"
	"trainer/core/op"
)

const madeFrom = "<!-- made by go run ./internal/backenddocs; change the header, the families or the cases instead -->\n\n"

// pages are all pages by their path in docs/backend.
func pages() (map[string]string, error) {
	h, err := headerText()
	if err != nil {
		return nil, err
	}
	all := map[string]string{"tolerances.md": tolerancesPage(), "check.md": checkPage()}
	if all["weights.md"], err = weightsPage(h); err != nil {
		return nil, err
	}
	if all["ops/README.md"], err = indexPage(h); err != nil {
		return nil, err
	}
	for _, f := range op.Families() {
		if all["ops/"+f.Name+".md"], err = opPage(h, f); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func constantOf(f *op.Family) string { return "TRAINER_OP_" + strings.ToUpper(f.Name) }

func fenced(language, text string) string { return "```" + language + "\n" + text + "\n```\n" }

// indexPage lists the ops, tier by tier, under the rules of each.
func indexPage(h header) (string, error) {
	var b strings.Builder
	b.WriteString("# The ops\n\n" + madeFrom)
	for tier, ends := range [][2]string{{"/* ---- ops, tier 0", "#define"}, {"/* ---- ops, tier 1", "*/"}} {
		rules, err := h.between(ends[0], ends[1])
		if err != nil {
			return "", err
		}
		_, rules, _ = strings.Cut(rules, "\n")
		rules = strings.TrimSuffix(plain(rules), "*/")
		fmt.Fprintf(&b, "## Tier %d\n\n%s\n| id | op | says |\n|---|---|---|\n", tier, fenced("", strings.TrimSpace(rules)))
		for _, f := range op.Families() {
			if f.Tier != tier {
				continue
			}
			definition, err := h.definition(constantOf(f))
			if err != nil {
				return "", err
			}
			first, _, _ := strings.Cut(definition, "\n")
			fmt.Fprintf(&b, "| %#x | [%s](%s.md) | `%s` |\n", uint32(f.Op), f.Name, f.Name, strings.ReplaceAll(strings.TrimSpace(first), "|", `\|`))
		}
		b.WriteString("\n")
	}
	b.WriteString("An op of tier 1 that a backend does not claim is replaced by its composition in ops of tier 0.\nHow results are judged stands in [tolerances](../tolerances.md).\n")
	return b.String(), nil
}

// opPage is the page of one op.
func opPage(h header, f *op.Family) (string, error) {
	definition, err := h.definition(constantOf(f))
	if err != nil {
		return "", err
	}
	d := conformance.Describe(f.Name)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s`%s`, id %#x, version 1, tier %d: %s. [All ops](README.md)\n\n", f.Name, madeFrom, constantOf(f), uint32(f.Op), f.Tier,
		[]string{"mandatory", "composed where it is missing"}[f.Tier])
	b.WriteString("## What it does\n\nOutputs `<-` inputs; `?` may be absent, `+=` is added to.\n\n" + fenced("", definition))
	if strings.Contains(definition, "weight(8)") {
		b.WriteString("\nA weight is [eight operands](../weights.md).\n")
	}
	if codes := h.constants("TRAINER_" + strings.ToUpper(f.Name) + "_"); codes != "" && f.Tier == 0 {
		b.WriteString("\n" + fenced("c", codes))
	}
	if attr := h.attributes(f.Name, definition); attr != "" {
		b.WriteString("\n## Attributes\n\n" + fenced("c", attr))
	}
	b.WriteString("\n## Operands\n\n" + operandTable(d))
	b.WriteString("\n## Rules\n\n" + rulesOf(f, d))
	b.WriteString("\n## Judged by\n\n" + judgedBy(d))
	return b.String(), nil
}

// mostOperands is how many operands a page lists.
const mostOperands = 18

func operandTable(d conformance.Description) string {
	var b strings.Builder
	fmt.Fprintf(&b, "As the cases use them; shapes are those of the case `%s`.\n\n| operand | dtypes | shape | may be absent |\n|---|---|---|---|\n", d.Example)
	more := false
	for _, side := range []struct {
		name string
		uses []conformance.OperandUse
	}{{"output", d.Outputs}, {"input", d.Inputs}} {
		for i, u := range side.uses {
			if more = more || i >= mostOperands; i >= mostOperands {
				break
			}
			shape, optional := "absent", ""
			if u.Shape != nil {
				shape = fmt.Sprint(u.Shape)
			}
			if u.Optional {
				optional = "yes"
			}
			fmt.Fprintf(&b, "| %s %d | %s | %s | %s |\n", side.name, i, dtypes(u.DTypes), shape, optional)
		}
	}
	if more {
		b.WriteString("\nFurther operands repeat these for each further projection or gradient.\n")
	}
	return b.String()
}

func dtypes(ds []abi.DType) string {
	if len(ds) == 0 {
		return "never given"
	}
	var names []string
	for _, d := range ds {
		names = append(names, d.String())
	}
	return strings.Join(names, ", ")
}

func rulesOf(f *op.Family, d conformance.Description) string {
	var b strings.Builder
	for _, p := range f.InPlace {
		fmt.Fprintf(&b, "- Output %d may be the same view as input %d.\n", p[0], p[1])
	}
	if f.FLOPs != nil {
		b.WriteString("- Products of matrices bound its time; inputs are rounded to `compute`, sums are f32.\n")
	} else {
		b.WriteString("- Memory bounds its time.\n")
	}
	if f.Backward != nil {
		b.WriteString("- Has a gradient, which the program is given as ops of its own.\n")
	}
	if d.Composition != nil {
		var steps []string
		for _, s := range d.Composition {
			steps = append(steps, fmt.Sprintf("[%s](%s.md) × %d", s.Op, s.Op, s.Count))
		}
		fmt.Fprintf(&b, "- Composition, and definition for the judge, in the case above: %s.\n", strings.Join(steps, ", "))
	}
	return b.String()
}

func judgedBy(d conformance.Description) string {
	var b strings.Builder
	if t := d.Tolerance; t == nil {
		b.WriteString("Results are exact: equal bits, any NaN being equal to any other.\n")
	} else {
		fmt.Fprintf(&b, "Rel %g, Abs %g, Low %g in the formula of [tolerances](../tolerances.md); integers are exact.", t.Rel, t.Abs, t.Low)
		if t.Products {
			b.WriteString(" The numerics class of the device's products applies.")
		}
		if t.Flush {
			b.WriteString(" Results below the smallest normal number may be 0.")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%d cases:\n\n", len(d.Cases))
	for _, c := range d.Cases {
		fmt.Fprintf(&b, "- `%s`\n", c)
	}
	if len(d.Benchmarks) > 0 {
		b.WriteString("\nTimed by:\n\n")
		for _, c := range d.Benchmarks {
			fmt.Fprintf(&b, "- `%s`\n", c)
		}
	}
	return b.String()
}

// tolerancesPage is the published table.
func tolerancesPage() string {
	var b strings.Builder
	b.WriteString("# Tolerances\n\n" + madeFrom + `Results are compared with a reference in f64. They depend on op, dtype, length and numerics
class, never on a backend. An element passes where

`)
	b.WriteString(fenced("", `|got - want| <= (Rel a + o) |want| + (Abs a sqrt(L) + Low s) S + m`))
	b.WriteString(`
| | |
|---|---|
| a | unit roundoff of arithmetic: 2^-24; of f32 products on a device that says so 2^-11 (TF32) or 2^-20 (bf16×3) |
| o | that of the output's dtype, where it is 16 bits wide: 1.01 × 2^-8 (bf16), 1.01 × 2^-11 (f16) |
| s | the coarsest among the 16-bit operands' dtypes and the compute dtype; 0 where all are f32 |
| L | terms of the longest sum; of rope the square of the largest angle |
| S | the largest finite number the reference has in the output, or what the case says if that is larger |
| m | the smallest number of the output's dtype; 2^-126 where results may be flushed |

An op that is not listed, and every integer, is exact; NaN equals NaN, infinities must agree.

| op | Rel | Abs | Low | class of products | may flush |
|---|---|---|---|---|---|
`)
	yes := map[bool]string{true: "yes"}
	for _, t := range conformance.Tolerances() {
		fmt.Fprintf(&b, "| [%s](ops/%s.md) | %g | %g | %g | %s | %s |\n", t.Op, t.Op, t.Rel, t.Abs, t.Low, yes[t.Products], yes[t.Flush])
	}
	return b.String()
}

// weightsPage is what the header says of weights.
func weightsPage(h header) (string, error) {
	text, err := h.between("#define TRAINER_FORMAT_DENSE", "\n\n/* ---- lists")
	if err != nil {
		return "", err
	}
	return "# Weights\n\n" + madeFrom + "A weight in any format is eight operands and a descriptor, so that a format can be added\nwithout new ops. [quantise](ops/quantise.md) says how numbers are quantised.\n\n" + fenced("c", text), nil
}

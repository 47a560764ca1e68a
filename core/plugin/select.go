package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"trainer/core/abi"
	"trainer/fault"
)

// Need is what a run asks of a device.
type Need struct {
	Device  string      // index or uuid; empty = any
	Memory  uint64      // bytes on the device; 0 = not known
	Storage []abi.DType // element types that live there; f32 always does
}

// Choice is one device of one backend.
type Choice struct {
	Candidate Candidate
	Device    int // index within the backend
}

// Info describes the chosen device.
func (c Choice) Info() DeviceInfo { return c.Candidate.Devices[c.Device] }

// aliases are names of other tools for backends of ours.
var aliases = map[string]string{"mps": "metal", "mlx": "metal"}

// Choose takes a device. want is "auto" (or empty): the best of all that can do the run,
// by class (discrete before integrated before CPU), then memory, then search order; or
// the name of one backend, which is never replaced by another. why is one line for the
// person: what was taken, and what was not. Errors are *fault.Error.
func Choose(all []Candidate, want string, need Need) (choice Choice, why string, err error) {
	auto := want == "" || want == "auto"
	if name, ok := aliases[want]; ok {
		want = name
	}
	pool := all
	if !auto {
		i := slices.IndexFunc(all, func(c Candidate) bool { return c.Name == want && c.Reason != ReasonFileName })
		if i < 0 {
			return choice, "", unknownBackend(all, want)
		}
		if pool = all[i : i+1]; !pool[0].Usable() {
			return choice, "", pool[0].fault()
		}
	}
	fit, rejected := sift(pool, need)
	if len(fit) == 0 {
		return choice, "", nothingFits(pool, want, auto, rejected)
	}
	best := slices.MaxFunc(fit, compareChoices)
	return best, best.explain(auto, len(fit), rejected), nil
}

// compareChoices orders devices by worth; of equals the first found is the greatest.
func compareChoices(a, b Choice) int {
	return cmp.Or(cmp.Compare(a.Info().Class, b.Info().Class), cmp.Compare(a.Info().MemoryTotal, b.Info().MemoryTotal))
}

// sift parts all devices into those that can do the run and the reasons of the others.
func sift(pool []Candidate, need Need) (fit []Choice, rejected []string) {
	for _, c := range pool {
		if !c.Usable() {
			if c.Reason != ReasonShadowed && c.Reason != ReasonNotFound {
				rejected = append(rejected, fmt.Sprintf("%s (%s)", c.Name, c.Reason))
			}
			continue
		}
		for i, d := range c.Devices {
			if lack := need.lacks(i, d); lack != "" {
				rejected = append(rejected, fmt.Sprintf("%s device %d (%s)", c.Name, i, lack))
			} else {
				fit = append(fit, Choice{c, i})
			}
		}
	}
	return fit, rejected
}

// lacks is why a device cannot do the run; empty when it can.
func (n Need) lacks(index int, d DeviceInfo) string {
	if n.Device != "" && n.Device != strconv.Itoa(index) && n.Device != d.UUID {
		return "not the device asked for"
	}
	if d.MemoryTotal == 0 || d.BufferMax == 0 {
		return "has no memory to use"
	}
	for _, t := range append([]abi.DType{abi.F32}, n.Storage...) {
		if d.StorageDTypes>>t&1 == 0 {
			return "cannot store " + t.String()
		}
	}
	if n.Memory > d.MemoryTotal {
		return fmt.Sprintf("has %s, the run needs %s", gibibytes(d.MemoryTotal), gibibytes(n.Memory))
	}
	return ""
}

func (c Choice) explain(auto bool, fit int, rejected []string) string {
	d := c.Info()
	parts := []string{d.Name, className(d.Class)}
	if d.ISA != "" {
		parts = append(parts, d.ISA)
	}
	if d.Threads > 0 {
		parts = append(parts, fmt.Sprintf("%d threads", d.Threads))
	}
	line := fmt.Sprintf("backend %s, device %d (%s, %s)", c.Candidate.Name, c.Device, strings.Join(parts, ", "), gibibytes(d.MemoryTotal))
	switch {
	case !auto:
		line += ": asked for"
	case fit == 1:
		line += ": the only device that can do this run"
	default:
		line += fmt.Sprintf(": the best of %d devices by class and memory", fit)
	}
	if auto && len(rejected) > 0 {
		line += "; not taken: " + strings.Join(rejected, ", ")
	}
	return line
}

func className(class uint32) string {
	return map[uint32]string{abi.DeviceCPU: "cpu", abi.DeviceIntegrated: "integrated", abi.DeviceDiscrete: "discrete"}[class]
}

func gibibytes(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// unknownBackend lists what there is instead.
func unknownBackend(all []Candidate, want string) error {
	var names []string
	for _, c := range all {
		if c.Usable() && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	found := "no usable backend was found"
	if len(names) > 0 {
		found = "found are " + strings.Join(names, ", ")
	}
	return &fault.Error{Kind: fault.Device, Where: "--backend", Found: strconv.Quote(want), Want: "auto or the name of a backend file (" + found + ")",
		Remedy: "see `trainer devices`, or name its folder with --backend_path"}
}

func nothingFits(pool []Candidate, want string, auto bool, rejected []string) error {
	e := &fault.Error{Kind: fault.Device, Where: "--backend", Found: "no device that can do this run", Remedy: "see `trainer devices`"}
	if len(rejected) > 0 {
		e.Found += ": " + strings.Join(rejected, ", ")
	} else if len(pool) == 0 || auto {
		e.Found = "no backend at all"
		e.Remedy = "build one with `make`, or name its folder with --backend_path"
	}
	if !auto {
		e.Found = strconv.Quote(want) + " with " + e.Found
	}
	return e
}

package conformance

import (
	"errors"
	"runtime"
	"slices"

	"trainer/core/plugin"
)

// Behaviour is a demand of the border that no op is about, and how it is tried. Every
// backend is asked, whatever its tier.
type Behaviour struct {
	Group  string
	Name   string   // unique within Group
	Demand string   // what fails when it goes wrong
	Needs  []string // optional functions of the table without which it is unsupported
	Try    func(*rig)
}

// Behaviours lists all. Those of "shutdown" come last: nothing works after them.
func Behaviours() []Behaviour {
	return slices.Concat(structBehaviours(), idBehaviours(), handleBehaviours(), listBehaviours(), bindingBehaviours(), memoryBehaviours(),
		timelineBehaviours(), queueBehaviours(), timesBehaviours(), planBehaviours(), threadBehaviours(), deviceBehaviours(), hygieneBehaviours(), shutdownBehaviours())
}

// judge tries one behaviour on a device opened for it.
func (c Behaviour) judge(b *plugin.Backend, path string, index int, seed uint64) (res Result) {
	res = Result{Op: c.Group, Case: c.Name, Status: Pass, Demand: c.Demand}
	for _, need := range c.Needs {
		if !b.Has(need) {
			res.Status, res.Reason = Unsupported, "the backend has no "+need
			return res
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	changed := func(string) error { return nil }
	if c.Demand == "process.state" {
		changed = plugin.Watch()
	}
	r, err := newRig(b, path, index, seed)
	if err != nil {
		return res.failed(err)
	}
	r.changed = changed
	err = r.try(c)
	var not *skipped
	if errors.As(err, &not) {
		res.Status, res.Reason, err = Unsupported, not.reason, nil
	}
	if err != nil {
		_ = r.close() // whatever else goes wrong now comes of it
		return res.failed(err)
	}
	if c.Group == shutdownGroup {
		return res
	}
	if err := r.close(); err != nil {
		return res.failed(err)
	}
	return res
}

func (r *rig) try(c Behaviour) (err error) {
	defer r.rescue(&err)
	r.demand = c.Demand
	c.Try(r)
	return nil
}

package conformance

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/core/abi"
	"trainer/core/plugin"
)

// Every behaviour of the border, on the backend under test.
func TestBehaviours(t *testing.T) {
	b := load(t, "border", backendPath(t))
	for _, c := range Behaviours() {
		if c.Group == shutdownGroup {
			continue // nothing works after it
		}
		t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
			res := c.judge(b, backendPath(t), 0, 1)
			require.NotEqual(t, Fail, res.Status, "%s: %s", res.Demand, res.Reason)
		})
	}
}

// lies are what testdata/liar_border.c can do, the case that finds each, and the demand
// that it names.
var lies = []struct{ lie, group, name, demand string }{
	{"process.exports", "hygiene", "exported symbols", "process.exports"}, // whatever it is told
	{"process.signal", "hygiene", "state of the process", "process.state"},
	{"process.umask", "hygiene", "state of the process", "process.state"},
	{"process.folder", "hygiene", "state of the process", "process.state"},
	{"process.float", "hygiene", "state of the process", "process.state"},
	{"process.locale", "hygiene", "state of the process", "process.state"},
	{"process.threads", "devices", "opened and closed 24 times", "process.threads"},
	{"process.files", "devices", "opened and closed 24 times", "process.files"},
	{"query.version", "structs", "hosts of other versions", "query.version"},
	{"query.minor", "structs", "hosts of other versions", "query.version"},
	{"info.alignment", "devices", "described", "info.sense"},
	{"info.name", "devices", "described", "info.sense"},
	{"struct.output", "structs", "device_info of every size", "struct.output"},
	{"struct.input", "structs", "arguments longer than known", "struct.input"},
	{"struct.short", "structs", "options shorter than known", "struct.input"},
	{"struct.array", "structs", "arrays of longer structs", "struct.array"},
	{"error.struct", "ids", "devices that do not exist", "error.struct"},
	{"error.status", "ids", "devices that do not exist", "error.struct"},
	{"error.size", "structs", "trainer_error of every size", "struct.output"},
	{"error.null", "structs", "no trainer_error", "error.null"},
	{"id.unknown", "ids", "ops that nobody knows", "id.unknown"},
	{"id.index", "ids", "devices that do not exist", "id.index"},
	{"op.level", "hygiene", "answers to queries", "op.claim"},
	{"handle.stale", "handles", "used after they ended", "handle.stale"},
	{"handle.stale", "handles", "that never were", "handle.stale"},
	{"handle.reuse", "handles", "whose place is used again", "handle.reuse"},
	{"list.refuse", "lists", "wrong magic", "list.refuse"},
	{"list.refuse", "lists", "cut at every word", "list.refuse"},
	{"list.refuse", "ids", "codes that nobody knows", "id.unknown"},
	{"list.where", "lists", "operands missing and too many", "list.where"},
	{"list.total", "lists", "any bytes", "list.total"},
	{"bind.refuse", "bindings", "that do not fit", "bind.refuse"},
	{"bind.refuse", "bindings", "params of another size", "bind.refuse"},
	{"bind.refuse", "bindings", "no workspace where one is needed", "bind.refuse"},
	{"bind.refuse", "timelines", "values that do not grow", "timeline.grows"},
	{"plan.checks", "bindings", "that do not fit a plan", "plan.checks"},
	{"plan.copies", "plans", "keep nothing of what made them", "plan.copies"},
	{"submit.copies", "queues", "keep nothing of a submit", "submit.copies"},
	{"submit.busy", "queues", "that are full", "submit.busy"},
	{"submit.order", "queues", "run in order", "submit.order"},
	{"times.none", "times", "of a list", "submit.times"},
	{"times.back", "times", "of a list", "submit.times"},
	{"times.long", "times", "of a list", "submit.times"},
	{"times.lump", "times", "of a list", "submit.times"},
	{"times.over", "times", "of no records", "submit.times"},
	{"times.short", "times", "of a shorter submit", "struct.input"},
	{"op.transfer", "queues", "for transfers", "op.runs"},
	{"timeline.value", "timelines", "values", "timeline.value"},
	{"timeline.timeout", "timelines", "the longest timeout", "timeline.timeout"},
	{"timeline.early", "timelines", "timeouts", "timeline.timeout"},
	{"timeline.waits", "timelines", "waits before signals", "timeline.waits"},
	{"timeline.waits", "timelines", "two waits", "timeline.waits"},
	{"timeline.failure", "timelines", "work that is cancelled", "timeline.failure"},
	{"timeline.destroy", "timelines", "destroyed while somebody waits", "timeline.destroy"},
	{"memory.host", "memory", "staging is host-visible", "memory.host"},
	{"memory.apart", "memory", "buffers lie apart", "memory.apart"},
	{"memory.oom", "memory", "more than there can be", "memory.oom"},
	{"memory.oom", "memory", "up to memory_limit", "memory.limit"},
	{"memory.limit", "memory", "up to memory_limit", "memory.limit"},
	{"memory.stats", "memory", "counted", "memory.stats"},
	{"memory.use", "memory", "freed while it is used", "memory.use"},
	{"memory.leak", "memory", "1000 buffers, one after the other", "memory.leak"},
	{"thread.any", "threads", "16 at once", "thread.any"},
	{"thread.apart", "timelines", "a wait stops nobody else", "thread.apart"},
	{"device.close", "devices", "closed with everything they own", "device.close"},
	{"device.reopen", "devices", "opened twice at once", "device.reopen"},
	{"device.shutdown", "shutdown", "with a device that works", "device.shutdown"},
}

// Whatever a backend does against the border, a behaviour finds and names the demand.
func TestLies(t *testing.T) {
	prompt, lag, patience = time.Second, 400*time.Millisecond, time.Second
	defer func() { prompt, lag, patience = 10*time.Second, 5*time.Second, time.Minute }()
	folder := t.TempDir()
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	path := buildLiar(t, "liar_border")
	b := load(t, "liar", path)
	all := Behaviours()
	for _, c := range lies {
		t.Run(c.lie+"/"+c.name, func(t *testing.T) {
			t.Chdir(folder)
			mask := syscall.Umask(0o22)
			defer syscall.Umask(mask)
			runtime.LockOSThread() // for good: a thread whose arithmetic was changed ends with the test
			i := slices.IndexFunc(all, func(b Behaviour) bool { return b.Group == c.group && b.Name == c.name })
			require.GreaterOrEqual(t, i, 0, "no behaviour %s/%s", c.group, c.name)
			if c.group != "hygiene" || c.name != "exported symbols" {
				require.Equal(t, Pass, all[i].judge(b, path, 0, 1).Status, "it does not lie yet")
			}
			t.Setenv("TRAINER_LIE", c.lie)
			res := all[i].judge(b, path, 0, 1)
			assert.Equal(t, Fail, res.Status)
			assert.Equal(t, c.demand, res.Demand, res.Reason)
		})
	}
}

// opLies are lies about ops, each with the case that finds it.
var opLies = []struct {
	lie    string
	c      Case
	demand string
}{
	{"op.mandatory", copyCase(abi.U8, plain, plain, 9), "op.mandatory"},
	{"op.claim", swigluCase(abi.F32, plain, plain, 3, 63), "op.claim"},
	{"op.composition", swigluCase(abi.F32, plain, plain, 3, 63), "op.composition"},
	{"op.ends", swigluCase(abi.F32, plain, plain, 3, 63), "op.ends"},
}

func TestOpLies(t *testing.T) {
	patience = time.Second
	defer func() { patience = time.Minute }()
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	b := load(t, "liar", buildLiar(t, "liar_border"))
	for _, c := range opLies {
		t.Run(c.lie, func(t *testing.T) {
			s := &Suite{wants: map[string]*want{}, cases: []Case{c.c}}
			for _, lie := range []string{"", c.lie} {
				t.Setenv("TRAINER_LIE", lie)
				dev, err := b.OpenDevice(0, plugin.DeviceOptions{})
				require.NoError(t, err)
				report, err := s.Run(dev)
				require.NoError(t, err)
				require.NoError(t, dev.Close())
				require.Equal(t, lie == "", report.OK())
				if lie != "" {
					require.Equal(t, c.demand, report.Results[0].Demand, report.Results[0].Reason)
				}
			}
		})
	}
}

// A device that is not deterministic has every group of an op twice; opened fast, equal runs
// need not give equal bits, but right ones.
func TestFastGroups(t *testing.T) {
	t.Setenv("TRAINER_BACKEND", backendPath(t))
	path := buildLiar(t, "faulty")
	b := load(t, "faulty", path)
	s := &Suite{wants: map[string]*want{}, cases: []Case{swigluCase(abi.F32, plain, plain, 3, 63)}}
	groups := s.Groups(plugin.DeviceInfo{})
	require.Len(t, groups, 2)
	require.Equal(t, []string{"swiglu", "swiglu (fast)"}, []string{groups[0].Title(), groups[1].Title()})
	require.Len(t, s.Groups(plugin.DeviceInfo{Flags: abi.FlagDeterministic}), 1)
	for _, c := range []struct {
		fault, exact, fast string
	}{{"unstable", "op.repeat", ""}, {"value", "op.value", "op.value"}} {
		t.Setenv("TRAINER_FAULT", c.fault)
		for i, demand := range []string{c.exact, c.fast} {
			err := s.Judge(Target{Backend: b, Path: path}, groups[i], 0, func(string) {}, func(res Result) {
				require.Equal(t, demand, res.Demand, res.Reason)
				require.Equal(t, demand != "", res.Status == Fail)
				require.Equal(t, groups[i].Title(), res.Op)
			})
			require.NoError(t, err)
		}
	}
}

// Every demand is named once, every behaviour tries one, and for each there is a lie that
// its cases find. Those of the process as a whole are found where children are started.
func TestDemands(t *testing.T) {
	found := map[string]bool{"file.usable": true, "process.survives": true, "process.ends": true, "process.silent": true, "training.loss": true}
	for _, c := range lies {
		found[c.demand] = true
	}
	for _, c := range opLies {
		found[c.demand] = true
	}
	for _, c := range faults {
		found[c.demand] = c.fault != "none"
	}
	delete(found, "")
	seen := map[string]bool{}
	for _, d := range Demands() {
		assert.False(t, seen[d.ID], "%s stands twice", d.ID)
		assert.NotEmpty(t, d.Text)
		assert.True(t, found[d.ID], "no lie against %s is tried", d.ID)
		seen[d.ID] = true
	}
	for _, b := range Behaviours() {
		assert.True(t, seen[b.Demand], "%s/%s tries the demand %q, which is not published", b.Group, b.Name, b.Demand)
	}
	for id := range found {
		assert.True(t, seen[id], "%s is not published", id)
	}
}

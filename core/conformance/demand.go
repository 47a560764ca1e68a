package conformance

import (
	"errors"
	"slices"
)

// Demand is one thing the border asks of every backend. Ids are stable: reports and
// lists of expected failures name them.
type Demand struct {
	ID   string `json:"id"`
	Text string `json:"text"` // what trainer_backend.h demands
}

// demands are published data: every failure names one of them.
var demands = []Demand{
	{"op.mandatory", "every op of tier 0 runs natively"},
	{"op.claim", "what query_ops claims must run: the answer is binding"},
	{"op.value", "a result lies within the published tolerance of the op's definition, computed in float64"},
	{"op.bounds", "an op changes nothing but the elements of its outputs and the workspace"},
	{"op.repeat", "opened with deterministic = 1, equal runs give equal bits"},
	{"op.composition", "the composition of an op that is not claimed gives the op's result"},
	{"op.ends", "submitted work ends"},
	{"op.runs", "a list that list_check accepts can be submitted and reaches its signal"},
	{"plan.equal", "a plan gives the bits of the list it was made from, every time it runs"},
	{"plan.params", "params are those given with each submit, in a plan too"},
	{"plan.copies", "plan_create keeps no pointer to the list or the bindings it was given"},
	{"plan.checks", "plan_create refuses with INVALID what submit would refuse"},

	{"file.usable", "a file passes every stage: permissions, format, manifest, border version, symbols, libraries, and a trial in a child process"},
	{"process.survives", "a backend never exits, aborts, throws or crashes"},
	{"process.ends", "no call hangs: waits are bounded, everything else returns"},
	{"process.state", "a backend changes no process state: signal handlers, folder, umask, locale, floating-point arithmetic"},
	{"process.silent", "a backend prints nothing"},
	{"process.threads", "threads end with the device that they served"},
	{"process.files", "files and sockets are closed with the device that they served"},
	{"process.exports", "a backend exports exactly trainer_backend_query_v1 and trainer_backend_manifest"},

	{"query.version", "a backend takes the host's major version and at most its minor, or refuses with a reason"},
	{"info.sense", "a device is described so that it can be used: alignment a power of two up to 4096, a lane or more, a name, mandatory dtypes"},
	{"struct.output", "a backend writes at most the struct_size bytes that the caller has room for"},
	{"struct.input", "a reader uses the first min(own, given) bytes of a struct: longer ones are no error, missing fields are zero"},
	{"struct.array", "elements of an array of structs stand struct_size of the first one apart"},
	{"error.struct", "a failed call fills trainer_error: the status it returns, and one NUL-terminated sentence in UTF-8"},
	{"error.null", "trainer_error may be NULL"},

	{"id.unknown", "an id that a backend does not know is answered with UNSUPPORTED or INVALID, in query_ops with level NONE"},
	{"id.index", "a device that does not exist is answered with INVALID"},
	{"handle.stale", "a handle that is not alive is answered with STALE"},
	{"handle.reuse", "a handle stays stale when its place is used again"},

	{"list.refuse", "list_check, submit and plan_create refuse a malformed list with INVALID"},
	{"list.where", "list_check names the first bad record"},
	{"list.total", "list_check answers any bytes with OK, INVALID, UNSUPPORTED or OOM"},
	{"bind.refuse", "submit refuses bindings, params and workspaces that do not fit the list with INVALID"},

	{"submit.copies", "a backend keeps no pointer it was given in a call after the call returned"},
	{"submit.busy", "submit never blocks: a full queue answers BUSY, and nothing has changed"},
	{"submit.order", "submits to one queue run in order"},
	{"submit.times", "where a device says TIMES, the times of a submit are all written before its signals, never go back, and tell what its records took"},
	{"timeline.value", "a timeline begins at the value it was made with; what it has reached is reached at once"},
	{"timeline.timeout", "a bounded wait ends with TIMEOUT when its time is over, not much later, and changes nothing"},
	{"timeline.waits", "work starts when every wait is reached, in whatever order submits come"},
	{"timeline.grows", "a signal's value must be higher than before; else submit answers INVALID"},
	{"timeline.failure", "a failure marks the signalled timelines failed, and so what waits for them"},
	{"timeline.destroy", "who waits for a timeline that is destroyed is woken"},

	{"memory.host", "staging memory has a host pointer and can be read and written whole"},
	{"memory.apart", "buffers do not overlap"},
	{"memory.oom", "out of memory is answered with OOM and nothing has changed"},
	{"memory.limit", "a device opened with memory_limit gives no more than that"},
	{"memory.stats", "device_stats counts what was obtained, and what was given back"},
	{"memory.use", "memory and plans that submitted work uses live until it ends"},
	{"memory.leak", "what is freed is given back"},

	{"thread.any", "any function may be called from any thread"},
	{"thread.apart", "calls on different objects may run at the same time"},
	{"device.close", "device_close ends a device with everything it still owns, running work too"},
	{"device.reopen", "a device that was closed can be opened again"},
	{"device.shutdown", "shutdown, called once and last, ends the backend with everything it still owns"},

	{"training.loss", "20 steps of fine-tuning give the known losses"},
}

// Demands is the published table.
func Demands() []Demand { return slices.Clone(demands) }

// DemandText is what a demand says; empty for an unknown one.
func DemandText(id string) string {
	for _, d := range demands {
		if d.ID == id {
			return d.Text
		}
	}
	return ""
}

// breach is a demand that was not met.
type breach struct {
	demand string
	err    error
}

func (b *breach) Error() string { return b.err.Error() }
func (b *breach) Unwrap() error { return b.err }

// against says which demand an error is against, unless it says so itself.
func against(demand string, err error) error {
	var known *breach
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &breach{demand, err}
}

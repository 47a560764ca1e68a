package training

import (
	"encoding/binary"
	"math"
	"slices"

	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
)

// Settings are the maths of a run, resolved.
type Settings struct {
	Precision       program.Precision
	Optimizer       Optimizer
	Batch           int64  // rows of a micro-batch
	Accumulation    int    // micro-batches of a step
	Grain           int64  // what lengths of rows are rounded up to
	Packed          int64  // tokens of the longest sample where rows hold several, none of which attends to another; 0 = a row is one
	Recompute       string // auto, none, selective, block or block:LAYERS
	Offload         string // kept activations wait on the host: auto (where memory is short), true, false
	PerToken        bool   // loss is normalised over the step's tokens, else over micro-batches
	Seed            uint64
	MemoryLimit     int64 // bytes; 0 = what the device has free
	HostMemoryLimit int64 // the same of the host, where its memory is not the device's; 0 = not known
}

// Engine is a network on a device: every program a run needs, compiled, and the memory
// they share. It belongs to one goroutine.
type Engine struct {
	Net        *Network
	Session    *session.Session
	Settings   Settings
	Policy     []program.Policy // of each layer, as chosen
	hindrance  error            // why a policy could not be tried, other than memory
	stride     int              // what every stride-th layer keeps waits on the host; 0 = none
	scalars    scalars
	guarded    op.Guarded
	uses       Uses
	bodies     map[shape]*compiledBody
	generators map[generatorKey]*generator
	update     update
	step       *session.Program // the update, compiled; nil where it is fused into the bodies
	starts     *session.Program // fills what no file fills
	arenas     arenas
}

// shape is what a body is compiled for.
type shape struct {
	batch, seq int64
	training   bool
}

type compiledBody struct {
	Body
	program *session.Program
	heads   map[int64]*compiledHead
}

type compiledHead struct {
	Head
	program *session.Program
}

// Granularity is what lengths up to the longest are rounded up to, so that about sixteen
// occur.
func Granularity(longest int64) int64 { return max(16, round(longest/16, 16)) }

func round(n, to int64) int64 { return (n + to - 1) / to * to }

// Uses is what an engine will be asked to do. Lengths are those of padded rows.
type Uses struct {
	Source   Source  // of the base weights; nil = random ones
	Train    []int64 // lengths of rows to train on; empty = no training
	Once     []int64 // those of them that a single micro-batch has: no plan is worth its memory
	Evaluate []int64 // lengths of rows to evaluate
	Generate int64   // longest text to generate, prompt included; 0 = none
}

// NewEngine plans a run on an opened session: states, then every program that may run.
// Nothing is allocated. The error is a fault of kind Memory where the run cannot fit
// set.MemoryLimit.
func NewEngine(s *session.Session, n *Network, set Settings, uses Uses) (*Engine, error) {
	if set.Accumulation > 1 {
		set.Precision = set.Precision.Accumulating()
	}
	if set.fused() {
		n.transientGradients()
	}
	n.keepMoments(set.Optimizer.Rule)
	e := &Engine{Net: n, Session: s, Settings: set, uses: uses, scalars: newScalars(), guarded: newGuarded(), update: newUpdate(set.Precision),
		bodies: map[shape]*compiledBody{}, generators: map[generatorKey]*generator{}, arenas: arenas{}}
	for _, step := range []func() error{e.place, e.compileUpdate, e.compileLoad, e.chooseRecompute} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := e.compileShapes(uses); err != nil {
		return nil, err
	}
	e.limitPlans()
	if err := e.withinLimit(); err != nil {
		return nil, err
	}
	return e, nil
}

// training tells whether weights will be trained.
func (e *Engine) training() bool { return len(e.uses.Train) > 0 }

// fused tells whether the update stands behind the backward in one program, and gradients
// live from there to there only.
func (s Settings) fused() bool { return s.Accumulation == 1 && !s.Optimizer.Rule.composed }

func (e *Engine) fused() bool { return e.Settings.fused() }

func (e *Engine) compileUpdate() error {
	if !e.training() || e.fused() {
		return nil
	}
	var err error
	if e.step, err = e.Session.Compile(e.buildUpdate(), nil, nil); err != nil {
		return err
	}
	e.arenas.took(phaseUpdate, e.step)
	return nil
}

// compileLoad compiles what fills the states; what changes the formats of a source, on trial.
func (e *Engine) compileLoad() error {
	var err error
	if e.starts, err = e.Session.CompileOnce(e.buildStarts()); err != nil {
		return err
	}
	e.arenas.took(phaseLoad, e.starts)
	if e.uses.Source == nil {
		return nil
	}
	return e.planLoad(e.uses.Source)
}

// Allocate obtains the planned memory and fills every state: base weights from the
// source or at random, adapters as they start.
func (e *Engine) Allocate() error {
	if err := e.Session.Allocate(); err != nil {
		return err
	}
	for v, data := range e.Net.data {
		if e.Net.constants[v.Name] == v {
			data = roundedTo(e.Settings.Precision.Table, data)
		}
		if err := e.Session.Write(nil, v, 0, encode(nil, data, v.DType)); err != nil {
			return err
		}
	}
	if e.uses.Source != nil {
		if err := e.load(e.uses.Source); err != nil {
			return err
		}
	}
	_, err := e.Session.Run(session.Run{Params: e.params(0, 0, 0), Parts: []session.Part{{Program: e.starts}}})
	if err != nil {
		return err
	}
	return e.Session.Sync()
}

// compileShapes compiles every shape that uses name.
func (e *Engine) compileShapes(uses Uses) error {
	for _, seq := range uses.Train {
		if _, err := e.body(shape{e.Settings.Batch, seq, true}); err != nil {
			return err
		}
	}
	for _, seq := range uses.Evaluate {
		if _, err := e.body(shape{e.Settings.Batch, seq, false}); err != nil {
			return err
		}
	}
	if uses.Generate > 0 {
		_, err := e.generator(round(uses.Generate, generateGrain), false)
		return err
	}
	return nil
}

func (e *Engine) place() error {
	states := e.Net.States(e.training())
	states = append(append(states, guardedValues(e.guarded)...), e.Net.tables...)
	for _, v := range states {
		program.AssignValue(v, e.Settings.Precision)
	}
	// Building a body declares the model's constant tables.
	buildBody(e.Net, e.scalars, e.Settings.Precision, bodySpec{batch: 1, seq: 1})
	for _, v := range e.Net.constants {
		states = append(states, v)
	}
	return e.Session.Place(states)
}

// body returns the compiled body of a shape.
func (e *Engine) body(sh shape) (*compiledBody, error) {
	if c := e.bodies[sh]; c != nil {
		return c, nil
	}
	scratch, err := e.headScratch(sh)
	if err != nil {
		return nil, err
	}
	spec := bodySpec{batch: sh.batch, seq: sh.seq, packed: e.Settings.Packed, scratch: scratch, training: sh.training,
		policy: func(block int) program.Policy { return e.Policy[block] }, reach: e.reach(), offloads: e.leaves}
	if sh.training && e.fused() {
		spec.update = e.emitUpdate
	}
	c := &compiledBody{heads: map[int64]*compiledHead{}, Body: buildBody(e.Net, e.scalars, e.Settings.Precision, spec)}
	if sh.training && slices.Contains(e.uses.Once, sh.seq) {
		c.program, err = e.Session.CompileOnce(c.Graph)
	} else {
		c.program, err = e.Session.Compile(c.Graph, nil, nil)
	}
	if err != nil {
		return nil, err
	}
	e.arenas.took(map[bool]string{true: phaseTrain, false: phaseEvaluate}[sh.training], c.program)
	for rows := int64(1); rows <= c.rows(); rows = bucket(rows, c.rows()) + 1 {
		if _, err := e.head(c, rows); err != nil {
			return nil, err
		}
	}
	e.bodies[sh] = c
	return c, nil
}

func (c *compiledBody) rows() int64 { return c.Hidden.Shape[0] }

// bucket is what so many labelled rows out of total are rounded up to: at most sixteen
// sizes occur.
func bucket(labelled, total int64) int64 {
	return min(round(max(labelled, 1), max(16, round(total/16, 16))), total)
}

// headScratch is the arena the head needs when every row is labelled.
func (e *Engine) headScratch(sh shape) (int64, error) {
	rows := sh.batch * sh.seq
	outer := func(name string) *op.Value {
		v := op.NewValue(name, op.Transient, op.Activation, 0, rows, e.Net.Model.Hidden())
		program.AssignValue(v, e.Settings.Precision)
		return v
	}
	body := Body{Hidden: outer("hidden")}
	given := []*op.Value{body.Hidden}
	if sh.training {
		body.Grad, body.HeadGrad = outer("d.hidden"), e.Net.headGrad()
		given = append(given, body.Grad)
	}
	if body.HeadGrad != nil {
		given = append(given, body.HeadGrad)
	}
	h := buildHead(e.Net, e.scalars, e.Settings.Precision, body, rows, e.lossScale())
	return e.Session.Scratch(h.Graph, given...)
}

// lossScale is the state that gradients are multiplied by; nil where they are not.
func (e *Engine) lossScale() *op.Value {
	if !e.Settings.Precision.Scaled {
		return nil
	}
	return e.guarded.Scale
}

// head returns the compiled head for at least rows labelled rows of a body.
func (e *Engine) head(c *compiledBody, rows int64) (*compiledHead, error) {
	rows = bucket(rows, c.rows())
	if h := c.heads[rows]; h != nil {
		return h, nil
	}
	h := &compiledHead{Head: buildHead(e.Net, e.scalars, e.Settings.Precision, c.Body, rows, e.lossScale())}
	var err error
	if h.program, err = e.Session.Compile(h.Graph, c.program, c.Body.Head); err != nil {
		return nil, err
	}
	c.heads[rows] = h
	return h, nil
}

// params encodes the params block.
func (e *Engine) params(lr, gradScale float64, step int) []byte {
	b := make([]byte, ParamsBytes)
	binary.LittleEndian.PutUint32(b[paramLR:], math.Float32bits(float32(lr)))
	binary.LittleEndian.PutUint32(b[paramGradScale:], math.Float32bits(float32(gradScale)))
	binary.LittleEndian.PutUint64(b[paramSeed:], e.Settings.Seed)
	binary.LittleEndian.PutUint32(b[paramStep:], uint32(step))
	return b
}

package training

import (
	"encoding/binary"
	"math"

	"trainer/core/op"
	"trainer/core/program"
	"trainer/core/session"
	"trainer/fault"
)

// Settings are the maths of a run, resolved.
type Settings struct {
	Precision    program.Precision
	Optimizer    Optimizer
	Batch        int64  // rows of a micro-batch
	Accumulation int    // micro-batches of a step
	Context      int64  // longest row, padded
	Recompute    string // auto, or a program.Policy
	PerToken     bool   // loss is normalised over the step's tokens, else over micro-batches
	Seed         uint64
	MemoryLimit  int64 // bytes; 0 = what the device has free
}

// Engine is a network on a device: every program a run needs, compiled, and the memory
// they share. It belongs to one goroutine.
type Engine struct {
	Net        *Network
	Session    *session.Session
	Settings   Settings
	Policy     []program.Policy // of each layer, as chosen
	scalars    scalars
	guarded    op.Guarded
	uses       Uses
	bodies     map[shape]*compiledBody
	generators map[generatorKey]*generator
	update     Update
	step       *session.Program // the update, compiled
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

// Granularity is what lengths are rounded up to, so that at most sixteen occur.
func Granularity(context int64) int64 { return max(16, (context/16+15)/16*16) }

func round(n, to int64) int64 { return (n + to - 1) / to * to }

// Uses is what an engine will be asked to do.
type Uses struct {
	Train    int64 // longest row to train on; 0 = no training
	Evaluate int64 // longest row to evaluate; 0 = none
	Generate int64 // longest text to generate, prompt included; 0 = none
}

// NewEngine plans a run on an opened session: states, then every shape that may occur.
// Nothing is allocated. The error is a fault of kind Memory where the run cannot fit
// limit bytes (0 = no limit).
func NewEngine(s *session.Session, n *Network, set Settings, uses Uses, limit int64) (*Engine, error) {
	e := &Engine{Net: n, Session: s, Settings: set, uses: uses, scalars: newScalars(), guarded: newGuarded(),
		bodies: map[shape]*compiledBody{}, generators: map[generatorKey]*generator{}}
	p := set.Precision
	if set.Accumulation > 1 {
		p = p.Accumulating()
		e.Settings.Precision = p
	}
	if err := e.place(); err != nil {
		return nil, err
	}
	if uses.Train > 0 {
		e.update = buildUpdate(n, e.scalars, e.guarded, p, set.Optimizer)
		var err error
		if e.step, err = s.Compile(e.update.Graph, nil, nil); err != nil {
			return nil, err
		}
	}
	if err := e.chooseRecompute(limit); err != nil {
		return nil, err
	}
	return e, e.compileShapes(Granularity(set.Context))
}

// compileShapes compiles every shape up to the longest, in steps of grain.
func (e *Engine) compileShapes(grain int64) error {
	for _, use := range []struct {
		longest  int64
		training bool
	}{{e.uses.Train, true}, {e.uses.Evaluate, false}} {
		longest := round(use.longest, Granularity(e.Settings.Context))
		for seq := min(grain, longest); seq > 0 && seq <= longest; seq += grain {
			if _, err := e.body(shape{e.Settings.Batch, seq, use.training}); err != nil {
				return err
			}
		}
	}
	if e.uses.Generate > 0 {
		_, err := e.generator(round(e.uses.Generate, generateGrain), false)
		return err
	}
	return nil
}

func (e *Engine) place() error {
	states := e.Net.States(e.uses.Train > 0)
	states = append(states, guardedValues(e.guarded)...)
	for _, v := range states {
		program.AssignValue(v, e.Settings.Precision)
	}
	// Building a body declares the model's constant tables.
	buildBody(e.Net, e.scalars, e.Settings.Precision, 1, 1, 0, false, nil)
	for _, v := range e.Net.constants {
		states = append(states, v)
	}
	return e.Session.Place(states)
}

// chooseRecompute takes the policy asked for, or with auto the least recompute that
// fits: none, selective, then whole blocks in as many layers as needed.
func (e *Engine) chooseRecompute(limit int64) error {
	layers := e.Net.Model.Layers()
	uniform := func(p program.Policy) []program.Policy {
		all := make([]program.Policy, layers)
		for i := range all {
			all[i] = p
		}
		return all
	}
	if e.Settings.Recompute != "auto" {
		p, err := program.ParsePolicy(e.Settings.Recompute)
		if err != nil {
			return err
		}
		e.Policy = uniform(p)
		return e.fits(limit)
	}
	for _, p := range []program.Policy{program.KeepAll, program.Selective} {
		e.Policy = uniform(p)
		if e.fits(limit) == nil {
			return nil
		}
	}
	low, high := 0, layers // low layers in whole blocks do not fit; high may
	e.Policy = uniform(program.Block)
	if err := e.fits(limit); err != nil {
		return err
	}
	for high-low > 1 {
		mid := (low + high) / 2
		e.Policy = mixed(uniform(program.Selective), mid)
		if e.fits(limit) == nil {
			high = mid
		} else {
			low = mid
		}
	}
	e.Policy = mixed(uniform(program.Selective), high)
	return nil
}

// mixed recomputes the first k layers whole: their results would be kept the longest.
func mixed(all []program.Policy, k int) []program.Policy {
	for i := range k {
		all[i] = program.Block
	}
	return all
}

// fits compiles the largest shapes on trial and compares the plan with the limit.
func (e *Engine) fits(limit int64) error {
	mark := e.Session.Mark()
	defer func() {
		e.Session.Reset(mark)
		clear(e.bodies)
		clear(e.generators)
	}()
	if err := e.compileShapes(max(e.uses.Train, e.uses.Evaluate, 1) + Granularity(e.Settings.Context)); err != nil {
		return err
	}
	if need := e.Session.Memory().Total(); limit > 0 && need > limit {
		return &fault.Error{Kind: fault.Memory, Where: "memory plan", Found: gib(need) + " needed", Want: "at most " + gib(limit),
			Remedy: "lower --batch_size or --context_length, or raise --memory_limit"}
	}
	return nil
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
	policy := func(block int) program.Policy { return e.Policy[block] }
	c := &compiledBody{heads: map[int64]*compiledHead{},
		Body: buildBody(e.Net, e.scalars, e.Settings.Precision, sh.batch, sh.seq, scratch, sh.training, policy)}
	if c.program, err = e.Session.Compile(c.Graph, nil, nil); err != nil {
		return nil, err
	}
	if _, err := e.head(c, sh.batch*sh.seq); err != nil {
		return nil, err
	}
	e.bodies[sh] = c
	return c, nil
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
	if sh.training {
		body.Grad = outer("d.hidden")
	}
	h := buildHead(e.Net, e.scalars, e.Settings.Precision, body, rows)
	given := []*op.Value{body.Hidden}
	if body.Grad != nil {
		given = append(given, body.Grad)
	}
	return e.Session.Scratch(h.Graph, given...)
}

// head returns the compiled head for at least rows labelled rows of a body.
func (e *Engine) head(c *compiledBody, rows int64) (*compiledHead, error) {
	total := c.Hidden.Shape[0]
	rows = min(round(max(rows, 1), max(16, round(total/16, 16))), total)
	if h := c.heads[rows]; h != nil {
		return h, nil
	}
	h := &compiledHead{Head: buildHead(e.Net, e.scalars, e.Settings.Precision, c.Body, rows)}
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

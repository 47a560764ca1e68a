package main

import (
	"maps"
	"slices"

	"trainer/fault"
	"trainer/training"
	"trainer/training/data"
	"trainer/training/metrics"
)

// texts is the folder whose tokenizer a benchmark needs; empty where its rows are random.
func (o BenchOptions) texts(job Job) string {
	switch {
	case job.Config.Dataset == "":
		return ""
	case o.Tokenizer != "":
		return o.Tokenizer
	}
	return job.ModelDir
}

// checkRows looks at what the rows of a benchmark are to be made of.
func (o BenchOptions) checkRows(job Job) error {
	switch {
	case job.Config.Dataset == "" && job.Config.Packing:
		return fault.New(fault.Usage, "found --packing without --dataset, which it belongs to")
	case job.Config.Dataset == "":
		return nil
	case o.texts(job) == "":
		return fault.New(fault.Usage, "--tokenizer is missing: a shape has none, and --dataset needs one; name a model folder that has")
	}
	return checkData(job.Config.Dataset, job.Config)
}

// benchRows are the rows that a benchmark trains on: random ones of the context length, or
// those of a data set in the order of training.
type benchRows struct {
	uses    training.Uses
	loop    *training.Loop // nil where rows are random
	padding float64        // share of an epoch's places that hold no token
}

// benchRows reads the data set, if the job names one.
func (w *workshop) benchRows(events Events) (rows benchRows, err error) {
	if w.job.Config.Dataset == "" {
		return benchRows{uses: w.fullRows()}, nil
	}
	loop, err := w.loop(events)
	if err != nil {
		return rows, err
	}
	s := w.settings()
	tokens, places := 0, int64(0)
	for _, n := range loop.Train.ExampleLengths() {
		tokens += int(n)
	}
	loop.Epochs, loop.MaxSteps = 1, -1
	for length, count := range loop.MicroBatches(s) {
		places += length * s.Batch * int64(count)
	}
	uses := loop.Uses(s)
	uses.Source, uses.Once = w.source, nil
	return benchRows{uses, &loop, 1 - float64(tokens)/float64(places)}, nil
}

// micro are the micro-batches of step n.
func (r benchRows) micro(w *workshop, n int) (batches []data.Batch) {
	c := w.job.Config
	if r.loop == nil {
		return w.randomMicro(benchWarmUp+n, c.ContextLength)
	}
	sampler := r.loop.Sampler(w.settings())
	epoch := sampler.StepsPerEpoch(c.BatchSize, c.GradientAccumulationSteps)
	for _, rows := range data.MicroBatches(sampler.Order(n/epoch), n%epoch, c.BatchSize, c.GradientAccumulationSteps) {
		batches = append(batches, w.engine.Collate(r.loop.Train.Select(rows), r.loop.PadID))
	}
	return batches
}

// timing is what the timed steps of a benchmark took.
type timing struct {
	tokens, steps int
	seconds       float64
	rates         []float64 // tokens per second of each step
	lengths       map[int]*sameLength
}

// sameLength are the micro-batches whose rows have one length.
type sameLength struct {
	count int
	first data.Batch
}

func (t *timing) add(micro []data.Batch, tokens int, seconds float64) {
	t.tokens += tokens
	t.steps++
	t.seconds += seconds
	t.rates = append(t.rates, float64(tokens)/seconds)
	for _, b := range micro {
		if t.lengths[b.Seq] == nil {
			t.lengths[b.Seq] = &sameLength{first: b}
		}
		t.lengths[b.Seq].count++
	}
}

// report fills in the speed: of the median step where all are alike, else of all together.
func (t *timing) report(b *BenchReport, alike bool) {
	rate := float64(t.tokens) / t.seconds
	if alike {
		rate = slices.Sorted(slices.Values(t.rates))[(len(t.rates)-1)/2] // of an even number, the slower in the middle
	}
	b.Steps, b.TokensPerSecond = t.steps, metrics.Number(rate)
	b.SecondsPerStep = metrics.Number(float64(t.tokens) / float64(t.steps) / rate)
}

// commonest are the micro-batches of the length that most have, of the longest of several.
func (t *timing) commonest() (most *sameLength) {
	for _, length := range slices.Sorted(maps.Keys(t.lengths)) {
		if l := t.lengths[length]; most == nil || l.count >= most.count {
			most = l
		}
	}
	return most
}

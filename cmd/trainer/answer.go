package main

import (
	"context"

	"trainer/training"
)

// Whose answers generate gives.
const (
	ofBase    = "base"
	ofAdapter = "adapter"
	ofBoth    = "both"
)

// longestText is what the longest prompt may grow to; 0 without prompts.
func (w *workshop) longestText() (n int64) {
	for _, p := range w.job.Prompts {
		n = max(n, int64(len(w.tok.Encode(p.Text, p.Framed))+w.job.MaxNewTokens))
	}
	return n
}

// stops are the ids that end an answer: the model's and the tokenizer's.
func (w *workshop) stops() (stops []int32, err error) {
	ids, err := w.model.Config.ReadStops(w.job.ModelDir)
	for _, id := range ids {
		stops = append(stops, int32(id))
	}
	if eos, ok := w.tok.EOS(); ok {
		stops = append(stops, eos)
	}
	return stops, err
}

// answer has every prompt continued, as the model is after so many steps.
func (w *workshop) answer(ctx context.Context, events Events, step int) error {
	if len(w.job.Prompts) == 0 {
		return nil
	}
	stops, err := w.stops()
	if err != nil {
		return err
	}
	model := ofAdapter
	if step == 0 || !w.net.Method.Adapters() {
		model = ofBase
	}
	for i := range w.job.Prompts {
		if err := w.continueText(ctx, events, i, Answer{Model: model, Step: step}, stops, false); err != nil {
			return err
		}
	}
	return nil
}

// continueText answers prompt i, up to a stop.
func (w *workshop) continueText(ctx context.Context, events Events, i int, a Answer, stops []int32, base bool) error {
	p := w.job.Prompts[i]
	ids, err := w.engine.Generate(ctx, training.Text{IDs: w.tok.Encode(p.Text, p.Framed), Stops: stops, MaxNew: w.job.MaxNewTokens, Base: base,
		Stream: uint64(i), Sampling: w.job.Sampling})
	if err != nil {
		return err
	}
	a.Prompt, a.Text = p.Text, w.tok.Decode(ids, true)
	return events.Answer(a)
}

// runGenerate answers prompts by the base, by the adapter, or by one after the other.
func runGenerate(ctx context.Context, job Job, events Events) (result Result, err error) {
	if err := job.adoptAdapter(); err != nil {
		return result, err
	}
	w, err := openWorkshop(job)
	if err != nil {
		return result, err
	}
	defer w.close(&err)
	if err := w.ready(training.Uses{Source: w.source, Generate: w.longestText()}); err != nil {
		return result, err
	}
	stops, err := w.stops()
	if err != nil {
		return result, err
	}
	for i := range job.Prompts {
		for _, model := range []string{ofBase, ofAdapter} {
			if job.AnswerOf != ofBoth && job.AnswerOf != model {
				continue
			}
			if err := w.continueText(ctx, events, i, Answer{Model: model}, stops, model == ofBase); err != nil {
				return w.interrupted(ctx, err)
			}
		}
	}
	return result, nil
}

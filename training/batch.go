package training

import (
	"context"
	"encoding/binary"
	"math"

	"trainer/core/op"
	"trainer/core/session"
	"trainer/training/data"
)

// StepResult is what one optimizer step gave.
type StepResult struct {
	Loss                     float64 // mean over labelled tokens, or over micro-batches
	GradNorm                 float64 // L2, before clipping
	Skipped                  bool    // the gradient was not finite; nothing was changed
	LossScale                float64 // of the next step; 0 where the loss is not scaled
	Tokens, Padded, Labelled int
}

// Step runs one optimizer step: every micro-batch forward and backward, then the
// update. step counts from 0.
func (e *Engine) Step(batches []data.Batch, lr float64, step int) (r StepResult, err error) {
	for _, b := range batches {
		r.Tokens += b.Tokens
		r.Padded += b.Rows * b.Seq
		r.Labelled += b.Labelled
	}
	queue, update, err := e.queueStep(batches, r.Labelled, lr, step)
	if err != nil {
		return r, err
	}
	for _, q := range queue {
		out, err := q.ticket.Wait()
		if err != nil {
			return r, err
		}
		r.Loss += float32At(out[q.loss]) * q.weight
	}
	out, err := update.Wait()
	if err != nil {
		return r, err
	}
	r.GradNorm = float32At(out[e.update.norm])
	r.Skipped = binary.LittleEndian.Uint32(out[e.update.skip]) != 0
	if e.update.scale != nil {
		r.LossScale = float32At(out[e.update.scale])
	}
	return r, nil
}

// queued is a micro-batch under way.
type queued struct {
	ticket *session.Ticket
	loss   *op.Value // sum over its labelled tokens
	weight float64   // of that in the loss of the step
}

// queueStep queues the micro-batches of a step, of so many labelled tokens, and the update,
// which rides with the last of them or is a run of its own.
func (e *Engine) queueStep(batches []data.Batch, labelled int, lr float64, step int) (queue []queued, update *session.Ticket, err error) {
	for _, b := range batches {
		weight := 1 / float64(labelled)
		if !e.Settings.PerToken {
			weight = 1 / (float64(b.Labelled) * float64(len(batches)))
		}
		t, loss, err := e.micro(b, true, e.params(lr, weight, step))
		if err != nil {
			return nil, nil, err
		}
		queue, update = append(queue, queued{t, loss, weight}), t
	}
	if !e.fused() {
		update, err = e.Session.Run(session.Run{Params: e.params(lr, 1, step), Parts: []session.Part{{Program: e.step}}})
	}
	return queue, update, err
}

// Evaluate is the mean loss over the labelled tokens of batches. It ends early, with the
// context's error, when ctx is cancelled.
func (e *Engine) Evaluate(ctx context.Context, batches []data.Batch) (loss float64, labelled int, err error) {
	var sum float64
	for _, b := range batches {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		t, value, err := e.micro(b, false, e.params(0, 1, 0))
		if err != nil {
			return 0, 0, err
		}
		out, err := t.Wait()
		if err != nil {
			return 0, 0, err
		}
		sum += float32At(out[value])
		labelled += b.Labelled
	}
	return sum / float64(labelled), labelled, nil
}

// micro queues one micro-batch and names its loss.
func (e *Engine) micro(b data.Batch, training bool, params []byte) (*session.Ticket, *op.Value, error) {
	run, loss, err := e.microRun(b, training, params)
	if err != nil {
		return nil, nil, err
	}
	t, err := e.Session.Run(run)
	return t, loss, err
}

// microRun is one micro-batch: body forward, head, and in training body backward.
func (e *Engine) microRun(b data.Batch, training bool, params []byte) (run session.Run, loss *op.Value, err error) {
	body, err := e.body(shape{int64(b.Rows), int64(b.Seq), training})
	if err != nil {
		return run, nil, err
	}
	head, err := e.head(body, int64(b.Labelled))
	if err != nil {
		return run, nil, err
	}
	run = session.Run{Params: params, Inputs: tokenInputs(body.Body, b), Parts: []session.Part{{Program: body.program}, {Program: head.program}}}
	run.Inputs[head.Rows] = padded(b.LabelRows, head.Rows.Count(), -1)
	run.Inputs[head.Labels] = padded(b.Targets, head.Labels.Count(), data.Ignored)
	if training {
		run.Parts = append(run.Parts, session.Part{Program: body.program, Index: 1})
	}
	return run, head.Loss, nil
}

// tokenInputs are the bytes of a batch's tokens.
func tokenInputs(body Body, b data.Batch) map[*op.Value][]byte {
	t := body.Tokens
	n := t.IDs.Count()
	inputs := map[*op.Value][]byte{t.IDs: padded(b.IDs, n, 0), t.Draw.Positions: padded(b.Positions, n, 0), t.Draw.Samples: padded(b.Samples, n, 0)}
	if t.Segments != nil { // where a batch names none, every row is one
		inputs[t.Segments] = padded(b.Segments, n, 0)
	}
	return inputs
}

// padded encodes values and fills up to n with pad.
func padded(values []int32, n int64, pad int32) []byte {
	out := make([]byte, 0, 4*n)
	for _, v := range values {
		out = binary.LittleEndian.AppendUint32(out, uint32(v))
	}
	for int64(len(out)) < 4*n {
		out = binary.LittleEndian.AppendUint32(out, uint32(pad))
	}
	return out
}

func float32At(b []byte) float64 {
	return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
}

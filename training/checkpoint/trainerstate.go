package checkpoint

import (
	"encoding/json"
	"path/filepath"

	"trainer/files/atomicfile"
	"trainer/training/metrics"
)

// TrainerStateFile tells people and tools what StateFile does, as Transformers' trainer
// leaves it. Nothing reads it here.
const TrainerStateFile = "trainer_state.json"

// TrainerState are fields of transformers.TrainerState, which takes no others: those that
// every version has.
type TrainerState struct {
	Epoch          metrics.Number `json:"epoch"`
	GlobalStep     int            `json:"global_step"`
	MaxSteps       int            `json:"max_steps"`
	LoggingSteps   int            `json:"logging_steps"`
	EvalSteps      int            `json:"eval_steps"`
	SaveSteps      int            `json:"save_steps"`
	TrainBatchSize int            `json:"train_batch_size"`
	NumTrainEpochs int            `json:"num_train_epochs"`
	TokensSeen     int            `json:"num_input_tokens_seen"`
	TotalFlops     float64        `json:"total_flos"`
	LogHistory     []any          `json:"log_history"`
	BestMetric     *float64       `json:"best_metric"`
	BestCheckpoint *string        `json:"best_model_checkpoint"`
	IsLocalZero    bool           `json:"is_local_process_zero"`
	IsWorldZero    bool           `json:"is_world_process_zero"`
	IsSearch       bool           `json:"is_hyper_param_search"`
	TrialName      *string        `json:"trial_name"`
	TrialParams    *struct{}      `json:"trial_params"`
}

// trainLog and evalLog are the entries of log_history.
type trainLog struct {
	Epoch        metrics.Number `json:"epoch"`
	GradNorm     metrics.Number `json:"grad_norm"`
	LearningRate metrics.Number `json:"learning_rate"`
	Loss         metrics.Number `json:"loss"`
	Step         int            `json:"step"`
}

type evalLog struct {
	Epoch   metrics.Number `json:"epoch"`
	Loss    metrics.Number `json:"eval_loss"`
	Seconds metrics.Number `json:"eval_runtime"`
	Step    int            `json:"step"`
}

// WriteFor completes t with what the state knows and writes it into a folder, durably.
func (t TrainerState) WriteFor(s State, dir string) error {
	epoch := func(step int) metrics.Number { return metrics.Number(float64(step) / float64(s.PerEpoch)) }
	t.Epoch, t.GlobalStep, t.MaxSteps = epoch(s.Step), s.Step, s.Steps
	t.IsLocalZero, t.IsWorldZero, t.LogHistory = true, true, []any{}
	for _, e := range s.Log {
		switch {
		case e.Step != nil:
			t.LogHistory = append(t.LogHistory, trainLog{e.Step.Epoch, e.Step.GradNorm, e.Step.LearningRate, e.Step.Loss, e.Step.Step})
		case e.Eval != nil:
			t.LogHistory = append(t.LogHistory, evalLog{epoch(e.Eval.Step), e.Eval.Loss, e.Eval.Seconds, e.Eval.Step})
		}
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, TrainerStateFile), append(text, '\n'))
}

package config

// Config holds every setting of a run. A nil pointer means that the setting was not given
// and that Resolve, or the run itself, decides. A Config is a value; nothing in it is
// shared with other goroutines unless its slices are changed.
type Config struct {
	// Model and data.
	ModelName      string // folder, or name in the local Hub cache
	Shape          string // a known model without its weights
	InitAdapter    string // PEFT folder to start from
	Dataset        string // file, folder or name of a data set
	DatasetFormat  string // auto, a record format or a file type
	DatasetSamples int    // first records; 0 = all
	DataCache      string // auto, none or a folder
	ContextLength  int    // tokens of the longest row
	Shuffle        bool
	Packing        bool // several samples in a row
	GroupByLength  bool // batches of rows of about one length

	// What is trained.
	TrainType         string // see Type
	Quantization      string // what the frozen base is stored as; empty = by train type
	NBits             int    // bits of a weight, of hqq and mlx
	HQQGroupSize      int    // weights that share a scale
	HQQAxis           int    // 1 = groups lie side by side, 0 = interleaved
	HQQQuantMeta      bool   // scales and zeros are quantised too
	LlamaProPath      string // the expanded model; empty = ModelName
	LoraRank          int
	LoraAlpha         float64 // the adapter's output is scaled by LoraAlpha/LoraRank
	LoraDropout       float64 // 0 up to, not including, 1
	LoraTargetModules string  // all, default, all_linear or names; see Targets
	UseRSLoRA         bool    // it is scaled by LoraAlpha/sqrt(LoraRank)
	RankPattern       string  // see Ranks
	AlphaPattern      string  // see Alphas

	// Batches and length.
	BatchSize                 int // rows of a micro-batch
	GradientAccumulationSteps int // micro-batches of an optimizer step
	NumEpochs                 int
	MaxSteps                  int    // optimizer steps of the whole run; -1 = no limit
	LossNormalization         string // token or micro_batch

	// Optimizer.
	Optimizer             string   // adamw, adam, adamw_8bit, sgd or adadelta
	LR                    *float64 // peak learning rate; nil = by train type
	WeightDecay           *float64 // nil = by optimizer
	AdamBeta1             *float64 // nil = by optimizer; sgd and adadelta have none
	AdamBeta2             *float64
	AdamEpsilon           *float64
	LRScheduler           string
	WarmupSteps           *int
	WarmupRatio           *float64
	CosineMinLRRatio      *float64
	ApplyGradientClipping *bool
	GradNorm              *float64 // largest L2 norm; nil = no clipping

	// Precision and memory.
	Precision                string // auto or the name of a mode
	UseGradientCheckpointing string // auto, true or false
	UseActivationCPUOffload  string // auto, true or false
	Recompute                string // auto, none, selective, block, block:LAYERS or lean
	MemoryLimit              Bytes  // of the device; 0 = what it has
	HostMemoryLimit          Bytes  // of the host; 0 = what it has

	// Backend and device.
	Backend       string // auto, or a backend's name
	Device        string // index or UUID; empty = the best
	BackendPath   []string
	LibraryPath   []string
	Threads       int // 0 = the backend chooses
	Deterministic bool
	SelfTest      bool    // judge the ops of the run on a few small cases before it
	CallTimeout   float64 // seconds without progress after which a backend counts as hanging
	Seed          uint64

	// Evaluation.
	EvalDataset string
	EvalSteps   int // 0 = only before and after training
	EvalSamples int // first records; 0 = all

	// Output.
	OutputDir          string
	OverwriteOutputDir bool
	SaveModel          bool
	SaveSteps          int     // optimizer steps between checkpoints; 0 = not counted
	SaveMinutes        float64 // minutes between checkpoints; 0 = not counted
	SaveTotalLimit     int     // checkpoints kept; 0 = all
	Resume             string  // never, auto or a checkpoint's folder
	LogEveryNSteps     int
	LogTo              string // tqdm or stdout
	LogTelemetry       bool   // power, temperature and clocks of the device in metrics.jsonl

	// The Hugging Face name of the scheduler has another default of CosineMinLRRatio.
	schedulerByAlias bool
	// Nobody asked for the quantiser: Resolve took that of the train type.
	quantiserByType bool
}

// Default is the Config of a run for which nothing was said.
func Default() Config {
	var c Config
	for i := range settings {
		if s := &settings[i]; s.Default != "" {
			if err := setField(s.field(&c), s.Default); err != nil {
				panic("setting " + s.Name + ": " + err.Error()) // the table contradicts itself
			}
		}
	}
	return c
}

package abi

// What devices are, and how work is handed over. Pointers are addresses of C memory.

// Classes of devices, numerics of f32 products, and flags.
const (
	DeviceCPU          = 1
	DeviceIntegrated   = 2
	DeviceDiscrete     = 3
	NumericsIEEE       = 0 // f32 products are f32
	NumericsTF32       = 1
	NumericsBF16X3     = 2
	FlagUnified        = 1 // device memory is host-visible
	FlagDeterministic  = 2 // equal runs give equal bits always
	FlagFlushDenormals = 4
	FlagHostSlots      = 8  // any slot may be bound to pinned host memory
	FlagTimes          = 16 // since minor 3: Submit.Times is written
)

// Levels of an op answer, kinds of memory and queues.
const (
	LevelNone     = 0 // compose it
	LevelOk       = 1
	LevelFast     = 2
	MemoryDevice  = 0
	MemoryStaging = 1 // host-visible: host_pointer is set; usable as a slot
	QueueCompute  = 0
	QueueTransfer = 1
)

// Error mirrors trainer_error.
type Error struct {
	StructSize  uint32
	Status      int32
	ListSerial  uint64 // 0: no list is concerned
	RecordIndex uint32 // 0xFFFFFFFF: no record is concerned
	Reserved    uint32
	Text        [512]byte // one sentence, NUL-terminated UTF-8
}

// HostInfo mirrors trainer_host_info.
type HostInfo struct {
	StructSize uint32
	ABIMajor   uint32
	ABIMinor   uint32 // the highest the host knows
	Reserved   uint32
}

// DeviceInfo mirrors trainer_device_info.
type DeviceInfo struct {
	StructSize    uint32
	DeviceClass   uint32 // TRAINER_DEVICE_*
	Flags         uint32 // TRAINER_FLAG_*
	Numerics      uint32 // TRAINER_NUMERICS_*
	MemoryTotal   uint64 // bytes
	MemoryFree    uint64
	BufferMax     uint64 // largest buffer, bytes
	ListBytesMax  uint64
	StorageDTypes uint64 // bit 1 << dtype id
	ComputeDTypes uint64 // computed natively, at full speed
	Alignment     uint32 // of operand offsets, bytes, a power of two <= 4096
	Lanes         uint32 // lanes that really run side by side, >= 1
	TileM         uint32 // preferred multiples of matrix sizes; 0 = none
	TileN         uint32
	TileK         uint32
	Threads       uint32 // of the backend's pool on a CPU; 0 = not applicable
	Name          [128]byte
	UUID          [64]byte // stable identity of the physical device
	ISA           [64]byte // what code path was chosen, for people
}

// DeviceOptions mirrors trainer_device_options.
type DeviceOptions struct {
	StructSize    uint32
	Deterministic uint32 // 1: equal runs must give equal bits
	MemoryLimit   uint64 // bytes; 0 = no limit
	Threads       uint32 // 0 = the backend chooses
	Reserved      uint32
}

// OpQuery mirrors trainer_op_query.
type OpQuery struct {
	StructSize  uint32
	Op          uint32
	Version     uint32
	Compute     uint32
	DType       uint32 // of the main activation operand
	WeightDType uint32 // of dense weights, or of what is quantised to or from
	Elements    uint64 // size class: elements of the largest operand; 0 = any
	Format      QuantFormat
}

// OpAnswer mirrors trainer_op_answer.
type OpAnswer struct {
	StructSize    uint32
	Level         uint32 // TRAINER_LEVEL_*
	Deterministic uint32
	Reserved      uint32
}

// BufferDesc mirrors trainer_buffer_desc.
type BufferDesc struct {
	StructSize uint32
	Memory     uint32 // TRAINER_MEMORY_*
	Bytes      uint64
}

// Buffer mirrors trainer_buffer.
type Buffer struct {
	StructSize  uint32
	Reserved    uint32
	Handle      uint64
	HostPointer uintptr // STAGING only; owned by the backend until buffer_free
}

// Binding mirrors trainer_binding.
type Binding struct {
	Buffer uint64
	Offset uint64
	Bytes  uint64
}

// TimelinePoint mirrors trainer_timeline_point.
type TimelinePoint struct {
	Timeline uint64
	Value    uint64
}

// ListReport mirrors trainer_list_report.
type ListReport struct {
	StructSize     uint32
	BadRecord      uint32 // 0xFFFFFFFF: none
	WorkspaceBytes uint64 // to bind at submit or plan_create; 0 = none
	PlanBytes      uint64 // what plan_create would keep
}

// Submit mirrors trainer_submit.
type Submit struct {
	StructSize   uint32
	BindingCount uint32
	WaitCount    uint32
	SignalCount  uint32
	Plan         uint64 // 0: list, bindings and workspace are given here
	List         uintptr
	Bindings     uintptr
	Workspace    Binding
	Params       uintptr
	ParamsBytes  uint64
	Waits        uintptr
	Signals      uintptr
	Times        uintptr // since minor 3, where the device says FlagTimes: one more than records; 0 = not wanted
}

// PlanDesc mirrors trainer_plan_desc.
type PlanDesc struct {
	StructSize   uint32
	BindingCount uint32
	List         uintptr
	Bindings     uintptr
	Workspace    Binding
}

// Plan mirrors trainer_plan.
type Plan struct {
	StructSize uint32
	Reserved   uint32
	Handle     uint64
	Bytes      uint64 // memory the plan keeps beyond its bindings
}

// DeviceStats mirrors trainer_device_stats.
type DeviceStats struct {
	StructSize uint32
	Reserved   uint32
	MemoryUsed uint64 // obtained through this border: buffers, plans, workspaces
	MemoryPeak uint64
}

// BackendTable mirrors trainer_backend_table.
type BackendTable struct {
	StructSize      uint32
	Reserved        uint32
	Shutdown        uintptr
	DeviceCount     uintptr
	DeviceInfo      uintptr
	DeviceOpen      uintptr
	DeviceClose     uintptr
	QueryOps        uintptr
	BufferAlloc     uintptr
	BufferFree      uintptr
	QueueCreate     uintptr
	QueueDestroy    uintptr
	ListCheck       uintptr
	Submit          uintptr
	TimelineCreate  uintptr
	TimelineDestroy uintptr
	TimelineRead    uintptr
	TimelineWait    uintptr
	DeviceStats     uintptr
	PlanCreate      uintptr
	PlanDestroy     uintptr
	BufferImport    uintptr
	LogRead         uintptr
	GetExtension    uintptr
	QueueProgress   uintptr // since minor 2
}

// Reply mirrors trainer_reply.
type Reply struct {
	StructSize uint32
	ABIMajor   uint32
	ABIMinor   uint32 // chosen: at most the host's
	Reserved   uint32
	Table      uintptr // in static storage of the backend
	Error      Error   // why not, if the status is not OK
}

package plugin

import "fmt"

// Code says at which stage a file's way ended. Codes are stable: scripts read them.
type Code string

// The codes, in the order of the stages.
const (
	ReasonOK          Code = "ok"         // may be opened
	ReasonNotFound    Code = "not_found"  // a path that was asked for holds no backend
	ReasonFileName    Code = "file_name"  // not named trainer-backend-NAME.so
	ReasonShadowed    Code = "shadowed"   // an earlier file has the same name
	ReasonPermission  Code = "permission" // strangers can write it, or it cannot be read
	ReasonNotLibrary  Code = "not_a_library"
	ReasonArch        Code = "architecture" // of another machine or system
	ReasonTruncated   Code = "truncated"
	ReasonManifest    Code = "manifest"
	ReasonABI         Code = "abi"
	ReasonEntrySymbol Code = "entry_symbol"
	ReasonCPUFeatures Code = "cpu_features"
	ReasonDependency  Code = "dependency"     // a library it needs is missing, or a search path is relative
	ReasonLoad        Code = "load"           // the system's loader refused it
	ReasonCrashed     Code = "probe_crashed"  // ended by a signal while it was tried
	ReasonExit        Code = "probe_exit"     // ended the program while it was tried
	ReasonTimeout     Code = "probe_timeout"  // did not answer in time
	ReasonProtocol    Code = "probe_protocol" // the trial itself went wrong
	ReasonQuery       Code = "query_refused"  // answered the query with a status
	ReasonStructSizes Code = "struct_sizes"   // filled a struct wrongly
	ReasonTable       Code = "table"          // no usable table of functions
	ReasonSideEffects Code = "side_effects"   // changed the state of the process
	ReasonDeviceInfo  Code = "device_info"    // describes a device that cannot be
	ReasonNoDevice    Code = "no_device"
	ReasonFound       Code = "found" // seen, not tried yet
)

// Refusal is why a file is not used.
type Refusal struct {
	Code Code
	Text string
}

// Error is the sentence.
func (r *Refusal) Error() string { return r.Text }

func refuse(code Code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

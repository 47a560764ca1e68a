package plugin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/cpu"

	"trainer/core/abi"
)

// Manifest is what a backend says of itself without being loaded: the JSON text of the
// symbol trainer_backend_manifest. Unknown fields are left for later versions.
type Manifest struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Vendor      string   `json:"vendor,omitempty"`
	Description string   `json:"description,omitempty"`
	ABIMajor    *uint32  `json:"abi_major"`
	ABIMinor    *uint32  `json:"abi_minor"`
	CPUFeatures []string `json:"cpu_features"`           // what its code needs before it can choose, as "avx2"
	OpenSeconds float64  `json:"open_seconds,omitempty"` // the longest that opening a device, checking a list or making a plan may take; 0 = 10
}

// OpenTimeout is how long the backend may take to open a device, or to compile a list.
func (m *Manifest) OpenTimeout() time.Duration {
	return max(ProbeTimeout, time.Duration(m.OpenSeconds*float64(time.Second)))
}

// maxManifest bounds the text in bytes.
const maxManifest = 64 << 10

// parseManifest reads the text up to its NUL.
func parseManifest(raw []byte) (*Manifest, error) {
	text, _, terminated := bytes.Cut(raw, []byte{0})
	if !terminated || len(text) > maxManifest {
		return nil, refuse(ReasonManifest, "its manifest is not a text of at most %d bytes that ends with NUL", maxManifest)
	}
	if !utf8.Valid(text) {
		return nil, refuse(ReasonManifest, "its manifest is not UTF-8; expected trainer_backend_manifest to be an array of characters, not a pointer")
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, refuse(ReasonManifest, "its manifest is not the expected JSON: %v", err)
	}
	if m.Name == "" || m.ABIMajor == nil || m.ABIMinor == nil {
		return nil, refuse(ReasonManifest, "its manifest lacks one of name, abi_major, abi_minor")
	}
	if m.OpenSeconds < 0 || m.OpenSeconds > 120 || len(m.CPUFeatures) > 256 {
		return nil, refuse(ReasonManifest, "its manifest has open_seconds %g and %d cpu_features, expected 0 to 120 and at most 256", m.OpenSeconds, len(m.CPUFeatures))
	}
	return m, nil
}

// checkABI compares majors. A newer minor is fine: the smaller of both is spoken.
func (m *Manifest) checkABI() error {
	if *m.ABIMajor != abi.ABIMajor {
		return refuse(ReasonABI, "is built for border version %d.%d, this program speaks %d.%d; install the build for this version", *m.ABIMajor, *m.ABIMinor, abi.ABIMajor, abi.ABIMinor)
	}
	return nil
}

// checkCPU compares what the code needs with what this processor and system offer.
func (m *Manifest) checkCPU() error {
	have := cpuFeatures()
	var missing []string
	for _, f := range m.CPUFeatures {
		if !have[featureKey(f)] {
			missing = append(missing, f)
		}
	}
	if len(missing) > 0 {
		return refuse(ReasonCPUFeatures, "needs a processor with %s", strings.Join(missing, ", "))
	}
	return nil
}

// featureKey lets AVX512_BF16, avx512bf16 and avx512-bf16 be one name.
func featureKey(name string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
}

// cpuFeatures are the features by their names in golang.org/x/sys/cpu. Those of other
// architectures are never set.
func cpuFeatures() map[string]bool {
	have := map[string]bool{}
	for _, arch := range []any{cpu.X86, cpu.ARM64} {
		v := reflect.ValueOf(arch)
		for i := range v.NumField() {
			if name, is := strings.CutPrefix(v.Type().Field(i).Name, "Has"); is && v.Field(i).Kind() == reflect.Bool && v.Field(i).Bool() {
				have[strings.ToLower(name)] = true
			}
		}
	}
	return have
}

package plugin

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestManifestsAreReadStrictly(t *testing.T) {
	m, err := parseManifest([]byte(`{"name":"x","version":"1","abi_major":0,"abi_minor":7,"open_seconds":30,"later":[1]}` + "\x00rest"))
	require.NoError(t, err)
	require.NoError(t, m.checkABI(), "a newer minor is fine")
	require.NoError(t, m.checkCPU())
	assert.Equal(t, 30*time.Second, m.OpenTimeout())
	assert.Equal(t, ProbeTimeout, (&Manifest{}).OpenTimeout())
	for _, bad := range []string{"", "{}", "{}\x00", `{"name":"x","abi_major":0}` + "\x00", `{"name":"x","abi_major":-1,"abi_minor":0}` + "\x00",
		`{"name":"x","abi_major":0,"abi_minor":0,"open_seconds":1e9}` + "\x00", `{"name":"x","abi_major":0,"abi_minor":0}`, "\xff\xfe\x00",
		`["x"]` + "\x00", strings.Repeat("[", 1<<20) + "\x00"} {
		_, err := parseManifest([]byte(bad))
		var r *Refusal
		require.True(t, errors.As(err, &r), "%.40q", bad)
		assert.Equal(t, ReasonManifest, r.Code)
	}
}

func TestFeaturesHaveOneNameInAnySpelling(t *testing.T) {
	assert.Equal(t, "avx512bf16", featureKey("AVX512_BF16"))
	assert.NotEmpty(t, cpuFeatures())
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"name":"x","version":"1","abi_major":0,"abi_minor":7,"cpu_features":["avx2"],"open_seconds":30}` + "\x00"))
	f.Add([]byte(`{"name":null,"abi_major":4294967296}` + "\x00"))
	f.Add([]byte("{\"name\":\"\xff\"}\x00"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseManifest(raw)
		if err == nil && (m.Name == "" || m.ABIMajor == nil || m.ABIMinor == nil) {
			t.Fatalf("%q was accepted as %+v", raw, m)
		}
	})
}

func FuzzLibraryFile(f *testing.F) {
	linuxOnly(f)
	library, err := os.ReadFile(compile(f, f.TempDir(), "seed", "-Wl,-z,max-page-size=4096", "-s"))
	require.NoError(f, err)
	f.Add(library)
	f.Add(library[:100])
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Add([]byte("MZ\x00"))
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		img, err := readImage(bytes.NewReader(raw), int64(len(raw)))
		var r *Refusal
		if err != nil && (!errors.As(err, &r) || r.Text == "") {
			t.Fatalf("refused without a reason: %v", err)
		}
		if len(img.manifest) > maxManifest+1 {
			t.Fatalf("%d bytes of manifest", len(img.manifest))
		}
	})
}

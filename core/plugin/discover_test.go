package plugin

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"trainer/fault"
)

// misbehaviour is one build of the test backend and how it must be refused.
type misbehaviour struct {
	flag string
	want Code
	says string
}

// misbehaviours need no deadline to be found out.
var misbehaviours = []misbehaviour{
	{"NO_ENTRY", ReasonEntrySymbol, "exports no function trainer_backend_query_v1"},
	{"NO_MANIFEST", ReasonManifest, "exports no symbol trainer_backend_manifest"},
	{"LOAD_CRASHES", ReasonCrashed, "crashed (SIGSEGV) while it was loaded"},
	{"LOAD_ABORTS", ReasonCrashed, "SIGABRT"},
	{"LOAD_EXITS", ReasonExit, "exit code 0 while it was loaded"},
	{"LOAD_EXITS_AT_ONCE", ReasonExit, "exit code 1"},
	{"LOAD_IS_KILLED", ReasonCrashed, "killed"},
	{"LOAD_TAKES_SIGTERM", ReasonSideEffects, "SIGTERM"},
	{"LOAD_CHANGES_FOLDER", ReasonSideEffects, "working directory to /"},
	{"LOAD_CHANGES_UMASK", ReasonSideEffects, "umask"},
	{"LOAD_FLUSHES_DENORMALS", ReasonSideEffects, "floating-point"},
	{"LOAD_CLOSES_ANSWER", ReasonExit, "exit code 0"},
	{"LOAD_WRITES_ANSWER", ReasonProtocol, "disturbed"},
	{"QUERY_CRASHES", ReasonCrashed, "while it answered the query"},
	{"QUERY_EXITS", ReasonExit, "while it answered the query"},
	{"QUERY_REFUSES", ReasonQuery, "libvendor.so.1 is too old: install 2.0"},
	{"QUERY_TAKES_SIGSEGV", ReasonSideEffects, "the query changed how the program handles SIGSEGV"},
	{"REPLY_GARBAGE", ReasonStructSizes, "struct_size of its reply"},
	{"REPLY_OVERFLOWS", ReasonStructSizes, "beyond the end of trainer_reply"},
	{"REPLY_MAJOR", ReasonABI, "answers with border version 9.2"},
	{"REPLY_MINOR", ReasonABI, "0.900"},
	{"TABLE_NULL", ReasonTable, "without a table"},
	{"TABLE_WILD", ReasonTable, "0x123400"},
	{"TABLE_SMALL", ReasonStructSizes, "is 64, expected"},
	{"TABLE_HUGE", ReasonStructSizes, "1073741824"},
	{"TABLE_LACKS_SUBMIT", ReasonTable, "function submit of its table is NULL"},
	{"DEVICES_NONE", ReasonNoDevice, "finds no device"},
	{"DEVICES_MANY", ReasonDeviceInfo, "100000 devices"},
	{"DRIVER_ABSENT", ReasonNoDevice, "install the driver"},
	{"INFO_CRASHES", ReasonCrashed, "while it described its devices"},
	{"INFO_OVERFLOWS", ReasonStructSizes, "beyond the end of trainer_device_info"},
	{"INFO_ALIGNMENT", ReasonDeviceInfo, "alignment is 3"},
	{"INFO_CLASS", ReasonDeviceInfo, "device_class is 77"},
	{"INFO_UNTERMINATED", ReasonDeviceInfo, "name is not UTF-8 that ends with NUL"},
	{"SHUTDOWN_CRASHES", ReasonCrashed, "while it was shut down"},
	{`MANIFEST="{\"name\":\"tiny\",\"abi_major\":9,\"abi_minor\":3}"`, ReasonABI, "border version 9.3, this program speaks 0.2"},
	{`MANIFEST="not json"`, ReasonManifest, "JSON"},
	{`FEATURES="\"avx1024\""`, ReasonCPUFeatures, "needs a processor with avx1024"},
}

// variant is the backend name of the i-th misbehaviour.
func variant(i int) string { return "bad" + string(rune('a'+i/10)) + string(rune('0'+i%10)) }

func TestEveryMisbehaviourHasItsReasonAndTheGoodOneStillLoads(t *testing.T) {
	dir := folder(t)
	compileAll(t, dir, misbehaviours)
	compile(t, dir, "good")
	began := time.Now()
	all := Discover(Options{Paths: []string{dir}})
	assert.Less(t, time.Since(began), ProbeTimeout, "time to refuse all")
	for i, m := range misbehaviours {
		if runtime.GOARCH != "amd64" && m.flag == "LOAD_FLUSHES_DENORMALS" {
			continue
		}
		c := byName(t, all, variant(i))
		assert.Equal(t, m.want, c.Reason, "%s: %s", m.flag, c.Sentence)
		assert.Contains(t, c.Sentence, m.says, m.flag)
		_, err := Open(c)
		assert.Equal(t, int(fault.Device), fault.ExitCode(err), m.flag)
	}
	good := byName(t, all, "good")
	require.Equal(t, ReasonOK, good.Reason, good.Sentence)
	require.Len(t, good.Devices, 1)
	assert.Equal(t, "tiny", good.Devices[0].Name)
	assert.Equal(t, "tiny", good.Manifest.Name)
	b, err := Open(good)
	require.NoError(t, err)
	assert.Equal(t, "good", b.Name)
}

// compileAll builds variants on all processors.
func compileAll(t *testing.T, dir string, all []misbehaviour) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i, m := range all {
		if runtime.GOARCH != "amd64" && m.flag == "LOAD_FLUSHES_DENORMALS" {
			continue
		}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			compile(t, dir, variant(i), "-D"+m.flag)
		})
	}
	wait.Wait()
}

func TestWhatHangsIsEndedWithEverythingItStarted(t *testing.T) {
	require.Equal(t, 10*time.Second, ProbeTimeout)
	dir := folder(t)
	hangs := []misbehaviour{
		{"LOAD_HANGS", ReasonTimeout, "gave no answer within 2s while it was loaded"},
		{"LOAD_SPINS", ReasonTimeout, "while it was loaded"},
		{"QUERY_HANGS", ReasonTimeout, "while it answered the query"},
	}
	compileAll(t, dir, hangs)
	compile(t, dir, "forks", "-DLOAD_LEAVES_PROCESS")
	compile(t, dir, "good")
	began := time.Now()
	all := Discover(Options{Paths: []string{dir}, Timeout: 2 * time.Second})
	assert.Less(t, time.Since(began), 6*time.Second)
	for i, m := range hangs {
		c := byName(t, all, variant(i))
		assert.Equal(t, m.want, c.Reason, "%s: %s", m.flag, c.Sentence)
		assert.Contains(t, c.Sentence, m.says, m.flag)
	}
	assert.Equal(t, ReasonOK, byName(t, all, "good").Reason)
	assert.Equal(t, ReasonOK, byName(t, all, "forks").Reason, "a process left behind is killed, not waited for")
	out, _ := exec.Command("pgrep", "-f", "__probe "+dir).Output()
	assert.Empty(t, string(out), "processes left behind")
}

func TestFilesThatAreNoBackends(t *testing.T) {
	linuxOnly(t)
	dir := folder(t)
	good := compile(t, dir, "good")
	library, err := os.ReadFile(good)
	require.NoError(t, err)
	put := func(name string, content []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, filePrefix+name), content, 0o755))
	}
	patch := func(at int, value byte) []byte {
		out := append([]byte{}, library...)
		out[at] = value
		return out
	}
	put("text.so", []byte("#!/bin/sh\necho this is Größe\n"))
	put("empty.so", nil)
	put("noise.so", []byte("\x01\x02\xff\xfe\x00\x00 and more"))
	put("machine.so", patch(18, 40)) // 32-bit ARM
	put("class.so", patch(4, 1))
	put("order.so", patch(5, 2))
	put("type.so", patch(16, 2)) // ET_EXEC
	put("windows.so", []byte("MZ\x90\x00\x03"))
	put("mac.so", []byte("\xcf\xfa\xed\xfe\x07\x00\x00\x01"))
	put("readme.txt", []byte("text"))
	put("good.dylib", library)
	want := map[string]Code{"text": ReasonNotLibrary, "empty": ReasonNotLibrary, "noise": ReasonNotLibrary, "machine": ReasonArch, "class": ReasonArch,
		"order": ReasonArch, "type": ReasonNotLibrary, "windows": ReasonArch, "mac": ReasonArch, "readme.txt": ReasonFileName, "good": ReasonOK}
	require.NoError(t, os.Mkdir(filepath.Join(dir, filePrefix+"folder.so"), 0o755))
	want["folder"] = ReasonNotLibrary
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, filePrefix+"broken.so")))
	want["broken"] = ReasonNotFound
	for i, size := range []int{1, 3, 20, 63, 64, 300, 2000, len(library) / 2, len(library) - 100, len(library) - 1} {
		name := "cut" + string(rune('a'+i))
		put(name+".so", library[:size])
		want[name] = ReasonTruncated
	}
	all := Discover(Options{Paths: []string{dir}})
	for name, code := range want {
		c := byName(t, all, name)
		assert.Equal(t, code, c.Reason, "%s: %s", name, c.Sentence)
		assert.NotEmpty(t, c.Sentence, name)
	}
	assert.Equal(t, ReasonShadowed, all[len(all)-2].Reason, "the same name with a foreign suffix")
}

func TestWhatALibraryNeeds(t *testing.T) {
	linuxOnly(t)
	dir := folder(t)
	elsewhere := t.TempDir()
	helper := filepath.Join(elsewhere, "libtinyhelper.so.7")
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "h.c"), []byte("int helper(void){return 1;}\n"), 0o600))
	text, err := exec.Command("cc", "-shared", "-fPIC", "-Wl,-soname,libtinyhelper.so.7", "-o", helper, filepath.Join(elsewhere, "h.c")).CombinedOutput()
	require.NoError(t, err, string(text))
	link := []string{"-Wl,--no-as-needed", helper}
	compile(t, dir, "missing", link...)
	compile(t, dir, "relative", append(link, "-Wl,-rpath,libs")...)
	compile(t, dir, "empty", append(link, "-Wl,-rpath,/usr/lib:")...)
	compile(t, dir, "absolute", append(link, "-Wl,-rpath,"+elsewhere)...)
	all := Discover(Options{Paths: []string{dir}})
	missing := byName(t, all, "missing")
	assert.Equal(t, ReasonDependency, missing.Reason)
	assert.Contains(t, missing.Sentence, "libtinyhelper.so.7")
	assert.Equal(t, ReasonDependency, byName(t, all, "relative").Reason)
	assert.Equal(t, ReasonDependency, byName(t, all, "empty").Reason)
	assert.Equal(t, ReasonOK, byName(t, all, "absolute").Reason, byName(t, all, "absolute").Sentence)
}

func TestWhatStrangersCanWriteIsRefused(t *testing.T) {
	dir := folder(t)
	good := compile(t, dir, "good")
	look := func(path string) Candidate {
		t.Helper()
		all := Discover(Options{Paths: []string{path}})
		return byName(t, all, "good")
	}
	require.NoError(t, os.Chmod(good, 0o757))
	c := look(dir)
	assert.Equal(t, ReasonPermission, c.Reason)
	assert.Contains(t, c.Sentence, "run chmod o-w \""+good)
	require.NoError(t, os.Chmod(good, 0o755))
	require.NoError(t, os.Chmod(dir, 0o777))
	assert.Equal(t, ReasonPermission, look(dir).Reason)
	require.NoError(t, os.Chmod(dir, 0o777|os.ModeSticky))
	assert.Equal(t, ReasonOK, look(dir).Reason)
	require.NoError(t, os.Chmod(dir, 0o755))
	links := t.TempDir()
	link := filepath.Join(links, filepath.Base(good))
	require.NoError(t, os.Symlink(good, link))
	assert.Equal(t, ReasonOK, look(links).Reason)
	require.NoError(t, os.Chmod(links, 0o777))
	assert.Equal(t, ReasonPermission, look(links).Reason, "who can write the link's folder chooses the file")
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(good, 12345, 0))
		assert.Contains(t, look(dir).Sentence, "chown 0")
		require.NoError(t, os.Chown(good, 0, 12345))
		require.NoError(t, os.Chmod(good, 0o775))
		assert.Contains(t, look(dir).Sentence, "run chmod g-w")
	}
}

func TestWhereBackendsAreLookedFor(t *testing.T) {
	dir := folder(t)
	good := compile(t, dir, "one")
	data := t.TempDir()
	user := filepath.Join(data, "trainer", "backends")
	require.NoError(t, os.MkdirAll(user, 0o755))
	compile(t, user, "one")
	compile(t, user, "two")
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("TRAINER_BACKEND_PATH", dir+string(os.PathListSeparator)+"relative/folder")
	all := Discover(Options{Paths: []string{filepath.Join(dir, "absent"), good}})
	var got []string
	for _, c := range all {
		got = append(got, c.Name+" "+string(c.Reason))
	}
	want := []string{" not_found", "one ok", " not_found", "one shadowed", "two ok"}
	if runtime.GOOS == "darwin" {
		want = want[:3]
	}
	require.Equal(t, want, got)
	assert.Equal(t, good, all[1].Path, "the earliest wins")
	text, err := json.Marshal(all)
	require.NoError(t, err)
	var back []Candidate
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, all, back)
}

func TestAFileThatChangedIsNotOpened(t *testing.T) {
	dir := folder(t)
	good := compile(t, dir, "good")
	c := byName(t, Discover(Options{Paths: []string{dir}}), "good")
	require.Equal(t, ReasonOK, c.Reason, c.Sentence)
	compile(t, dir, "good", "-DLOAD_CRASHES")
	_, err := Open(c)
	require.ErrorContains(t, err, "changed after it was checked")
	require.NoError(t, os.Remove(good))
	_, err = Open(c)
	require.Equal(t, int(fault.Device), fault.ExitCode(err))
}

// The backend of this project under another name, where it is built.
func TestTheCPUBackendDropsIn(t *testing.T) {
	built := os.Getenv("TRAINER_BACKEND")
	if built == "" {
		built = "../../build/lib/trainer/backends/trainer-backend-cpu" + nativeSuffix()
	}
	library, err := os.ReadFile(built)
	if err != nil {
		t.Skip("needs the CPU backend: run make build")
	}
	dir := folder(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, filePrefix+"foo"+nativeSuffix()), library, 0o755))
	c := byName(t, Discover(Options{Paths: []string{dir}}), "foo")
	require.Equal(t, ReasonOK, c.Reason, c.Sentence)
	b, err := Open(c)
	require.NoError(t, err)
	require.Equal(t, "foo", b.Name)
	require.NotEmpty(t, c.Devices[0].ISA)
}

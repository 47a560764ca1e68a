package zoo

// build is one build of the test backend, by a macro or more flags of the compiler, the
// reason for which it must be refused, and what the sentence says.
type build struct {
	flags, reason, says string
}

// builds are found out at once.
var builds = []build{
	{"-DNO_ENTRY", "entry_symbol", "exports no function trainer_backend_query_v1"},
	{"-DNO_MANIFEST", "manifest", "exports no symbol trainer_backend_manifest"},
	{"-DNO_MANIFEST -DNO_ENTRY", "entry_symbol", "exports neither"},
	{`-DMANIFEST="{\"name\":\"tiny\",\"abi_major\":9,\"abi_minor\":3}"`, "abi", "border version 9.3, this program speaks 0."},
	{`-DMANIFEST="not json"`, "manifest", "JSON"},
	{`-DMANIFEST="{\"name\":\"tiny\"}"`, "manifest", "lacks one of name, abi_major, abi_minor"},
	{`-DMANIFEST="{\"name\":\"tiny\",\"abi_major\":0,\"abi_minor\":1,\"open_seconds\":121}"`, "manifest", "open_seconds 121"},
	{`-DMANIFEST="\xff\xfe"`, "manifest", "not UTF-8"},
	{"-DMANIFEST_LONG", "manifest", "at most 65536 bytes"},
	{`-DFEATURES="\"avx1024\""`, "cpu_features", "needs a processor with avx1024"},
	{"-DUNDEFINED", "load", "absent_function"},
	{"-DLOAD_CRASHES", "probe_crashed", "crashed (SIGSEGV) while it was loaded"},
	{"-DLOAD_ABORTS", "probe_crashed", "SIGABRT"},
	{"-DLOAD_DIVIDES", "probe_crashed", "SIGFPE"},
	{"-DLOAD_OVERFLOWS_STACK", "probe_crashed", "SIGSEGV"},
	{"-DLOAD_TRAPS", "probe_crashed", "SIGILL"},
	{"-DLOAD_EXITS", "probe_exit", "exit code 0 while it was loaded"},
	{"-DLOAD_EXITS_AT_ONCE", "probe_exit", "exit code 1"},
	{"-DLOAD_IS_KILLED", "probe_crashed", "killed"},
	{"-DLOAD_TAKES_SIGTERM", "side_effects", "SIGTERM"},
	{"-DLOAD_BLOCKS_SIGNALS", "side_effects", "which signals are blocked"},
	{"-DLOAD_CHANGES_FOLDER", "side_effects", "working directory to /"},
	{"-DLOAD_CHANGES_UMASK", "side_effects", "umask"},
	{"-DLOAD_CHANGES_LIMIT", "side_effects", "limit of open files"},
	{"-DLOAD_CHANGES_LOCALE", "side_effects", "locale from C to C"},
	{"-DLOAD_CHANGES_ENVIRONMENT", "side_effects", "environment variable TRAINER_ZOO"},
	{"-DLOAD_CHANGES_ROUNDING", "side_effects", "floating-point"},
	{"-DLOAD_FLUSHES_DENORMALS", "side_effects", "floating-point"},
	{"-DLOAD_CLOSES_INPUT", "side_effects", "descriptor 0"},
	{"-DLOAD_REPLACES_OUTPUT", "side_effects", "descriptor 2"},
	{"-DLOAD_PRINTS", "side_effects", "standard output"},
	{"-DLOAD_CLOSES_ANSWER", "probe_exit", "exit code 0"},
	{"-DLOAD_WRITES_ANSWER", "probe_protocol", "disturbed"},
	{"-DQUERY_CRASHES", "probe_crashed", "while it answered the query"},
	{"-DQUERY_EXITS", "probe_exit", "while it answered the query"},
	{"-DQUERY_REFUSES", "query_refused", "libvendor.so.1 is too old: install 2.0"},
	{"-DQUERY_TAKES_SIGSEGV", "side_effects", "the query changed how the program handles SIGSEGV"},
	{"-DREPLY_GARBAGE", "struct_sizes", "struct_size of its reply"},
	{"-DREPLY_OVERFLOWS", "struct_sizes", "beyond the end of trainer_reply"},
	{"-DREPLY_MAJOR", "abi", "answers with border version 9."},
	{"-DREPLY_MINOR", "abi", "0.900"},
	{"-DTABLE_NULL", "table", "without a table"},
	{"-DTABLE_WILD", "table", "0x123400"},
	{"-DTABLE_SMALL", "struct_sizes", "is 64, expected"},
	{"-DTABLE_HUGE", "struct_sizes", "1073741824"},
	{"-DTABLE_LACKS_SUBMIT", "table", "function submit of its table is NULL"},
	{"-DDEVICES_NONE", "no_device", "finds no device"},
	{"-DDEVICES_MANY", "device_info", "100000 devices"},
	{"-DDRIVER_ABSENT", "no_device", "install the driver"},
	{"-DINFO_CRASHES", "probe_crashed", "while it described its devices"},
	{"-DINFO_OVERFLOWS", "struct_sizes", "beyond the end of trainer_device_info"},
	{"-DINFO_ALIGNMENT", "device_info", "alignment is 3"},
	{"-DINFO_CLASS", "device_info", "device_class is 77"},
	{"-DINFO_MEMORY", "device_info", "memory_total is 18446744073709551615 bytes"},
	{"-DINFO_UNTERMINATED", "device_info", "name is not UTF-8 that ends with NUL"},
	{"-DSHUTDOWN_CRASHES", "probe_crashed", "while it was shut down"},
}

// hangs are found out by a deadline.
var hangs = []build{
	{"-DLOAD_HANGS", "probe_timeout", "while it was loaded"},
	{"-DLOAD_SPINS", "probe_timeout", "while it was loaded"},
	{"-DLOAD_STOPS", "probe_timeout", "while it was loaded"},
	{"-DQUERY_HANGS", "probe_timeout", "while it answered the query"},
	{"-DINFO_HANGS", "probe_timeout", "while it described its devices"},
	{"-DSHUTDOWN_HANGS", "probe_timeout", "while it was shut down"},
}

// harmless are builds that may be used.
var harmless = []build{
	{"-DLOAD_LEAVES_PROCESS", "ok", ""},
	{"-DLOAD_SPAWNS_THREAD", "ok", ""},
	{"-DTABLE_OLD", "ok", ""},
}

package abi

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The header needs nothing beside itself, in C11 and in C++17.
func TestHeaderCompilesAlone(t *testing.T) {
	for _, language := range []struct{ compiler, name, standard string }{{"cc", "c", "c11"}, {"c++", "c++", "c++17"}} {
		if _, err := exec.LookPath(language.compiler); err != nil {
			t.Skip("needs ", language.compiler)
		}
		cmd := exec.Command(language.compiler, "-x", language.name, "-std="+language.standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-I.", "-fsyntax-only", "-")
		cmd.Stdin = strings.NewReader("#include \"trainer_backend.h\"\nint32_t (*query)(const trainer_host_info *, trainer_reply *) = trainer_backend_query_v1;\n")
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", text)
	}
}

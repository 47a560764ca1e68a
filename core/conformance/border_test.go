package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every behaviour of the border, on the backend under test.
func TestBehaviours(t *testing.T) {
	b := load(t, "border", backendPath(t))
	for _, c := range Behaviours() {
		if c.Group == shutdownGroup {
			continue // nothing works after it
		}
		t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
			res := c.judge(b, backendPath(t), 0, 1)
			require.NotEqual(t, Fail, res.Status, "%s: %s", res.Demand, res.Reason)
		})
	}
}

package guard

import (
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package and fails it if goroutines are left at the
// end. It is a package's TestMain:
//
//	func TestMain(m *testing.M) { guard.Main(m) }
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(m, options...)
}

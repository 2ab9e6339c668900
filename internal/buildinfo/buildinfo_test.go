package buildinfo

import (
	"runtime"
	"strings"
	"testing"
)

func TestVersionNamesReleaseAndArchitecture(t *testing.T) {
	if v := Version(); !strings.HasPrefix(v, Release+" (") || !strings.Contains(v, runtime.GOARCH) {
		t.Errorf("Version() = %q", v)
	}
}

package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Release is the released version, set by the linker
// (-X github.com/dpmip/dpmip/internal/buildinfo.Release=v1.2.3); "devel"
// otherwise.
var Release = "devel"

// Version is one line: release, revision ("+dirty" when the tree was changed),
// Go version and architecture.
func Version() string {
	rev, dirty := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				rev = s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+dirty"
			}
		}
	}
	return fmt.Sprintf("%s (%s%s, %s %s/%s)", Release, rev, dirty, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Package programs builds this project's programs for tests that run them.
package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Build builds programs of cmd/, static, into a new folder "dpmip-NAME-...".
// The caller removes it; after an error there is none.
func Build(name string, programs ...string) (dir string, err error) {
	dir, err = os.MkdirTemp("", "dpmip-"+name+"-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir + "/"}
	for _, p := range programs {
		args = append(args, "github.com/dpmip/dpmip/cmd/"+p)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("go build: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return dir, nil
}

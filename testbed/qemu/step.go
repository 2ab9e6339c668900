package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Payload is the folder of the second initrd, and StepFile the list in it of
// what the payload runs.
const (
	Payload  = "/payload"
	StepFile = Payload + "/steps.json"
)

// Step is one program that the payload runs in the guest, with the outcome that
// it must have: exit status 0 within its time.
type Step struct {
	Name    string        `json:"name"` // of its result
	Command []string      `json:"command"`
	Dir     string        `json:"dir,omitempty"`
	Env     []string      `json:"env,omitempty"`  // besides PATH, HOME and TMPDIR
	Time    time.Duration `json:"time,omitempty"` // at most; 0 = 2 min
	// Figures is a JSON file that the program writes: it becomes the result's data.
	Figures string `json:"figures,omitempty"`
	// Tests says that the program is a test binary run with -test.v: at least one
	// test must have passed, and the result's data are counts (TestCounts).
	Tests bool `json:"tests,omitempty"`
}

// TestCounts are the data of a test binary's result. Subtests count; a test
// that has subtests counts as well.
type TestCounts struct {
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped []string `json:"skipped,omitempty"` // names
}

// WriteSteps lays the list out as the guest reads it.
func WriteSteps(steps []Step) ([]byte, error) {
	b, err := json.MarshalIndent(steps, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	return b, nil
}

// ReadSteps reads the list in the guest.
func ReadSteps(file string) ([]Step, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	var steps []Step
	if err := json.Unmarshal(b, &steps); err != nil {
		return nil, fmt.Errorf("qemu: %s: %w", file, err)
	}
	return steps, nil
}

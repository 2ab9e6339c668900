// Command guest runs inside the emulated card, beside PID 1, as the payload of a
// test. For the firmware it starts a management node, attaches a VM, has PID 1
// carry out updates, and reports what came of it; for the testbed it runs the
// programs that the host has listed, one after the other. Started like an agent (--config) it
// serves nothing: the update that hangs. As "run panic" it ends the kernel.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dpmip/dpmip/testbed/qemu"
)

func main() {
	if slices.Contains(os.Args, "--config") {
		for {
			time.Sleep(time.Hour)
		}
	}
	if slices.Contains(os.Args, "panic") {
		fmt.Println("guest:", os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
		os.Exit(1)
	}
	port, err := results()
	if err != nil {
		fmt.Println("guest:", err)
		os.Exit(1)
	}
	r := &reporter{enc: json.NewEncoder(port)}
	name, err := os.ReadFile("/payload/scenario")
	if err != nil {
		r.say("scenario", err, nil)
	}
	switch strings.TrimSpace(string(name)) {
	case "updates":
		updates(r)
	case "cut":
		cut(r)
	case "after":
		after(r)
	case "steps":
		steps(r)
	default:
		r.say("scenario", fmt.Errorf("%q is unknown", name), nil)
	}
	r.end()
}

// reporter writes results as the host reads them.
type reporter struct{ enc *json.Encoder }

func (r *reporter) say(name string, err error, data any) { r.report(name, err, data, 0) }

func (r *reporter) report(name string, err error, data any, took time.Duration) {
	res := qemu.Result{Name: name, Seconds: took.Seconds()}
	if err != nil {
		res.Failed = err.Error()
	}
	if data != nil {
		b, err := json.Marshal(data)
		if err != nil {
			res.Failed = err.Error()
		}
		res.Data = b
	}
	fmt.Printf("guest: %s %s %s\n", res.Name, res.Failed, res.Data)
	if err := r.enc.Encode(res); err != nil {
		fmt.Println("guest: reporting:", err)
	}
}

func (r *reporter) end() {
	if err := r.enc.Encode(qemu.Result{Last: true}); err != nil {
		fmt.Println("guest: reporting:", err)
	}
}

// results opens the serial port by its name.
func results() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err == nil && strings.TrimSpace(string(b)) == qemu.Port {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(n)), os.O_WRONLY, 0)
		}
	}
	return nil, fmt.Errorf("no port %s among %v", qemu.Port, names)
}

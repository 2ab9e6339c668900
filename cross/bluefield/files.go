package bluefield

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed files/*
var files embed.FS

// Names are the files, as they are shipped.
var Names = []string{"bf.cfg", "build-bfb.sh", "dpmip-agent.pod.yaml"}

// File gives one, made for a release (its version is put where @VERSION@
// stands).
func File(name, version string) ([]byte, error) {
	b, err := files.ReadFile("files/" + name)
	if err != nil {
		return nil, fmt.Errorf("bluefield: %w", err)
	}
	return []byte(strings.ReplaceAll(string(b), "@VERSION@", version)), nil
}

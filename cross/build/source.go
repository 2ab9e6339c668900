package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dpmip/dpmip/cross/bundle"
)

// complete fills what the flags leave out, from the commit.
func (o *options) complete(ctx context.Context) error {
	if o.release == "" {
		o.release = "unknown"
		if s, err := output(ctx, nil, "git", "describe", "--tags", "--always", "--dirty"); err == nil {
			o.release = s
		}
	}
	if o.epoch == 0 {
		s, err := output(ctx, nil, "git", "log", "-1", "--format=%ct")
		if err != nil {
			return fmt.Errorf("no commit to take the time from (give -epoch): %w", err)
		}
		if o.epoch, err = strconv.ParseInt(s, 10, 64); err != nil {
			return err
		}
	}
	if o.version == 0 {
		o.version = uint64(o.epoch)
	}
	return nil
}

// output runs a command and gives what it prints, without white space around.
func output(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(b)), nil
}

// compile builds static programs for an architecture into out/ARCH and gives
// that folder. Neither paths of this machine nor its git state get in; the
// release does, by name.
func compile(ctx context.Context, o *options, arch string, programs ...string) (string, error) {
	dir := filepath.Join(o.out, "bin", arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X github.com/dpmip/dpmip/internal/buildinfo.Release=" + o.release, "-o", dir + "/"}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	fmt.Printf("building %s for %s\n", strings.Join(programs, ", "), arch)
	env := []string{"GOOS=linux", "GOARCH=" + arch, "CGO_ENABLED=0", "GOFLAGS=", "GOARM64=v8.0", "GOAMD64=v1", "GOEXPERIMENT="}
	_, err := output(ctx, env, "go", args...)
	return dir, err
}

// signer reads the signing key; without one, a development key is made once.
func (o *options) signer() (ed25519.PrivateKey, error) {
	file := o.key
	if file == "" {
		file = filepath.Join(o.out, "keys", "development.key")
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			fmt.Printf("making a development key: %s (a release is signed with -key)\n", file)
			if err := newKey(file); err != nil {
				return nil, err
			}
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return bundle.ParsePrivate(string(b))
}

// newKey writes a private key, and its public half to FILE.pub.
func newKey(file string) error {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // never over another key
	if err != nil {
		return err
	}
	_, err = f.WriteString(bundle.FormatPrivate(priv))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.WriteFile(file+".pub", []byte(bundle.FormatPublic(pub)), 0o644)
}

func keygen(_ context.Context, o *options) error {
	if o.key == "" {
		return errors.New("keygen: say where to: -key FILE")
	}
	if err := newKey(o.key); err != nil {
		return err
	}
	fmt.Printf("%s: keep it off every card; %s.pub belongs on each, as update.keys\n", o.key, o.key)
	return nil
}

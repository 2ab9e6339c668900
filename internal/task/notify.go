package task

import (
	"fmt"
	"net"
	"os"
)

// Notify tells systemd about this process by sd_notify(3): "READY=1",
// "STOPPING=1", "STATUS=...". Without NOTIFY_SOCKET in the environment it does
// nothing.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("task: sd_notify: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("task: sd_notify: %w", err)
	}
	return nil
}

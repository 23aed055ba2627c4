package config

import (
	"fmt"
	"net"
	"os"
)

// NotifyReady tells the service manager that the daemon serves (READY=1 of
// sd_notify(3)). Without a service manager that wants to know it does nothing.
func NotifyReady() error { return notify("READY=1") }

// NotifyStopping tells the service manager that the daemon is about to end.
func NotifyStopping() error { return notify("STOPPING=1") }

func notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	// Package net reads a leading "@" as an abstract address, as systemd writes it.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	defer conn.Close() //nolint:errcheck // the datagram is sent or not
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}

package config

import (
	"io"
	"log/slog"
	"strings"
)

// Logger makes the daemon's log. level can be set anew after a reload, to
// next.Level().
func (c *Config) Logger(w io.Writer, level *slog.LevelVar) *slog.Logger {
	level.Set(c.Level())
	opts := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Level is the least level that is logged.
func (c *Config) Level() slog.Level {
	if c.Debug {
		return slog.LevelDebug
	}
	switch strings.ToLower(c.LogLevel) {
	case "trace", "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error", "fatal", "panic":
		return slog.LevelError
	}
	return slog.LevelInfo
}

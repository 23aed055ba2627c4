package image

import (
	"context"
	"io"
	"log/slog"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// RedirectLogs sends what containerd's libraries log, which is global, to l.
// The composition root calls it once, before New.
func RedirectLogs(l *slog.Logger) {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.WarnLevel)
	if l.Enabled(context.Background(), slog.LevelDebug) {
		logger.SetLevel(logrus.DebugLevel)
	}
	logger.AddHook(logHook{l})
	log.L = logrus.NewEntry(logger)
}

type logHook struct{ to *slog.Logger }

// Levels are all: the logger filters.
func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire passes an entry on. The libraries' own fields come along.
func (h logHook) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug // what they tell of themselves is of no use to users
	switch e.Level {
	case logrus.PanicLevel, logrus.FatalLevel, logrus.ErrorLevel:
		level = slog.LevelWarn // the operation's own error says what it means
	}
	args := make([]any, 0, 2*len(e.Data)+2)
	args = append(args, "from", "containerd")
	for k, v := range e.Data {
		args = append(args, k, v)
	}
	h.to.Log(context.Background(), level, e.Message, args...)
	return nil
}

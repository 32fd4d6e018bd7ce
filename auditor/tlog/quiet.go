package tlog

import (
	"strings"

	"github.com/go-logr/logr/funcr"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// LogTo sends what tessera says to a log, for the whole process: it has but one
// place to speak to.
func LogTo(log zerolog.Logger) {
	klog.SetLogger(funcr.New(func(_, args string) {
		e := log.Debug()
		if strings.Contains(args, `"error"`) {
			e = log.Warn()
		}
		e.Str("of", "tessera").Msg(args)
	}, funcr.Options{}))
}

//go:build linux || darwin

package engine

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// load opens libchdb and returns its entry, which takes a command line and
// blocks until the engine ends, and returns its error message if it has one.
func load(path string) (run func(argv []string) (msg string), err error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load the ClickHouse library: %w", err)
	}
	for _, name := range []string{"chdb_query_cmdline", "chdb_result_error", "chdb_set_signal_handlers_enabled"} {
		if _, err := purego.Dlsym(lib, name); err != nil {
			return nil, fmt.Errorf("load the ClickHouse library: %s isn't a libchdb new enough: %w", path, err)
		}
	}
	var cmdline func(argc int32, argv unsafe.Pointer) uintptr
	var resultError func(result uintptr) string // purego copies the C string
	purego.RegisterLibFunc(&cmdline, lib, "chdb_query_cmdline")
	purego.RegisterLibFunc(&resultError, lib, "chdb_result_error")
	disableHandlers(lib)
	return func(argv []string) string {
		var pin runtime.Pinner
		defer pin.Unpin()
		ptrs := make([]unsafe.Pointer, len(argv)+1) // C wants a null at the end
		for i, arg := range argv {
			b := append([]byte(arg), 0)
			pin.Pin(&b[0])
			ptrs[i] = unsafe.Pointer(&b[0])
		}
		pin.Pin(&ptrs[0])
		result := cmdline(int32(len(argv)), unsafe.Pointer(&ptrs[0]))
		if result == 0 {
			return ""
		}
		return resultError(result)
	}, nil
}

// disableHandlers stops the library from installing crash handlers of its own.
// The call resets eight signals to their default action, Go's handlers
// included (SIGSEGV and the one of preemption among them): so all are read
// before and put back after.
func disableHandlers(lib uintptr) {
	var (
		sigaction  func(sig int32, set, old unsafe.Pointer) int32
		setEnabled func(on int32)
		saved      [32][256]byte // a struct sigaction is 152 bytes on Linux, 16 on macOS
	)
	purego.RegisterLibFunc(&sigaction, purego.RTLD_DEFAULT, "sigaction")
	purego.RegisterLibFunc(&setEnabled, lib, "chdb_set_signal_handlers_enabled")
	for sig := range int32(len(saved)) {
		if sig > 0 {
			sigaction(sig, nil, unsafe.Pointer(&saved[sig][0]))
		}
	}
	setEnabled(0)
	for sig := range int32(len(saved)) {
		if sig > 0 {
			sigaction(sig, unsafe.Pointer(&saved[sig][0]), nil) // fails for SIGKILL and SIGSTOP, as it should
		}
	}
}

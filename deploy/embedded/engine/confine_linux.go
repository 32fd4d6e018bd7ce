package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// minLandlock is the first version that lets files be moved between directories, as
// detached parts are (Linux 5.19).
const minLandlock = 2

// confine keeps this process, and what replaces it, to the files that a server needs
// (Landlock, https://docs.kernel.org/userspace-api/landlock.html): the library is a
// clickhouse-local, whose function file() reads any path without a grant. Written
// may be written beneath, read only read; what doesn't exist is left out. It reports
// whether it did: not every kernel can.
//
// Only the calling thread is confined, which must be locked and call exec next.
func confine(written, read []string) (bool, error) {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 || version < minLandlock {
		return false, nil
	}
	const reading = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	const onFiles = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	all := uint64(reading | onFiles | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER)
	if version < 3 {
		all &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: all}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return false, errno
	}
	defer unix.Close(int(fd))
	allow := func(path string, access uint64) error {
		at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer unix.Close(at)
		var stat unix.Stat_t
		if err := unix.Fstat(at, &stat); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			access &= onFiles
		}
		rule := unix.LandlockPathBeneathAttr{Allowed_access: access & all, Parent_fd: int32(at)}
		if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, fd, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
			return fmt.Errorf("%s: %w", path, errno)
		}
		return nil
	}
	for _, path := range written {
		if err := allow(path, all); err != nil {
			return false, err
		}
	}
	for _, path := range read {
		if err := allow(path, reading); err != nil {
			return false, err
		}
	}
	// With these root reads the environment of other processes all the same. Who
	// may not give capabilities up has none that count.
	for _, capability := range []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return false, err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return false, errno
	}
	return true, nil
}

// startConfined has this program start anew, confined; it returns only if it can't.
func startConfined(lib, data, config, cold string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	home := filepath.Dir(config)
	written := []string{data, filepath.Join(home, "log"), "/dev/null", "/dev/zero", "/dev/tty", "/dev/ptmx", "/dev/pts"}
	if cold != "" {
		written = append(written, cold)
	}
	read := []string{
		self, lib, config, filepath.Join(home, "users.xml"), filepath.Join(home, "server.d"), filepath.Join(home, "users.d"),
		"/dev/urandom", "/dev/random", "/proc", "/sys", "/usr", "/lib", "/lib64", "/nix/store",
		"/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/localtime", "/etc/ld.so.cache",
		"/etc/ssl", "/etc/pki", "/etc/ca-certificates",
	}
	// A rule is on what is opened now, and this is replaced while the engine runs.
	if real, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil && filepath.Dir(real) != "/etc" {
		read = append(read, filepath.Dir(real))
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	done, err := confine(written, read)
	if err != nil {
		return err
	}
	if !done {
		fmt.Fprintln(os.Stderr, "clickhouse-engine: this kernel can't confine the engine to its files (Landlock, Linux 5.19): whoever may ask it anything may try to read others")
		return nil
	}
	return unix.Exec(self, append(os.Args, "-confined"), os.Environ())
}

package embeddedtest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// startZooKeeper runs Apache ZooKeeper, as Debian packages it, until the test ends, and
// returns its address.
func startZooKeeper(t testing.TB) string {
	t.Helper()
	const jars = "/usr/share/java"
	if _, err := os.Stat(filepath.Join(jars, "zookeeper.jar")); err != nil {
		t.Skip("needs ZooKeeper (apt-get install zookeeper): ", err)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("needs ZooKeeper (apt-get install zookeeper): ", err)
	}
	port := Port(t)
	address := fmt.Sprint("127.0.0.1:", port)
	dir := t.TempDir()
	config := filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=2000\nmaxSessionTimeout=120000\ndataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%d\nadmin.enableServer=false\n", filepath.Join(dir, "data"), port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(java, "-Xmx256m", "-Dzookeeper.forceSync=no", "-cp", filepath.Join(jars, "zookeeper.jar")+":"+jars+"/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain", config)
	cmd.Dir = dir
	if err := Listen(t, cmd, address); err != nil {
		t.Fatalf("ZooKeeper: %v", err)
	}
	return address
}

// noAddress is what the engine says for want of what a server gives it: an address at
// which other replicas fetch rows. Without one its replicated tables can't be written to.
const noAddress = "Parameter 'interserver_http(s)_port' required for replication"

// replicatingLib is the path of a copy of the ClickHouse library that has what servers have
// by their configuration and the engine has not: an address at which other replicas fetch
// rows, exchangeAddress, and credentials for fetching from them, which are empty.
func replicatingLib(t testing.TB) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("needs linux/amd64: on ", runtime.GOOS, "/", runtime.GOARCH, " nobody knows how to make the engine write to replicated tables")
	}
	lib := Lib(t)
	path, err := copyOfLib(lib)
	if err != nil {
		t.Fatalf("make a library whose replicated tables can be written to: %v", err)
	}
	return path
}

// copyOfLib makes the copy, if it isn't there, under .cache.
func copyOfLib(lib string) (string, error) {
	program, err := engineProgram()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(lib)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(program)
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	path := filepath.Join(dir, fmt.Sprintf("replicating-3-%d-%d.so", info.Size(), info.ModTime().Unix()))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	old, err := filepath.Glob(filepath.Join(dir, "replicating-*.so"))
	if err != nil {
		return "", err
	}
	for _, p := range old {
		_ = os.Remove(p)
	}
	at, err := addressFunction(lib)
	if err != nil {
		return "", err
	}
	from, err := os.Open(lib)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.Create(path + ".new")
	if err != nil {
		return "", err
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return "", err
	}
	if _, err := to.WriteAt(givesAddress(), at); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// addressFunction finds where in the library's file the function begins that says
// noAddress, DB::Context::getInterserverIOAddress: the one that refers to the text.
func addressFunction(lib string) (int64, error) {
	f, err := elf.Open(lib)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, data := f.Section(".text"), f.Section(".rodata")
	if text == nil || data == nil {
		return 0, errors.New("it has no .text or no .rodata")
	}
	says, err := data.Data()
	if err != nil {
		return 0, err
	}
	said := bytes.Index(says, []byte(noAddress))
	if said < 0 {
		return 0, fmt.Errorf("it does not say %q", noAddress)
	}
	code, err := text.Data()
	if err != nil {
		return 0, err
	}
	target := data.Addr + uint64(said)
	for i := 0; i+7 <= len(code); i++ {
		if code[i]&0xfb != 0x48 || code[i+1] != 0x8d || code[i+2]&0xc7 != 0x05 || // lea r64, [rip+disp32]
			text.Addr+uint64(i)+7+uint64(int64(int32(binary.LittleEndian.Uint32(code[i+3:])))) != target {
			continue
		}
		start := bytes.LastIndex(code[:i], []byte{0xcc, 0xcc, 0xcc, 0xcc}) + 4 // what is between functions
		if start%16 != 0 || i-start > 512 || !bytes.Contains(code[start:i], portOfShared) || i-start < len(givesAddress()) {
			return 0, errors.New("the function is not as it should be")
		}
		return int64(text.Offset) + int64(start), nil
	}
	return 0, errors.New("nothing refers to what it says")
}

// portOfShared is in the function: movzx eax, word [r14+0x168], the port, which follows the
// host's 24 bytes and is followed by the scheme's and the credentials in what all contexts
// share.
var portOfShared = []byte{0x41, 0x0f, 0xb7, 0x86, 0x68, 0x01, 0, 0}

// givesAddress is code that sets the scheme there, and the credentials to zeros behind it,
// two empty strings and an empty list, and returns the std::pair<String, UInt16> of
// exchangeAddress. A libc++ string that is short has its length in the last of 24 bytes.
func givesAddress() []byte {
	return slices.Concat(
		[]byte{0x48, 0x8b, 0x0e},                             // mov rcx, [rsi]
		[]byte{0xc7, 0x81, 0x70, 0x01, 0, 0}, []byte("http"), // mov dword [rcx+0x170], …
		[]byte{0xc6, 0x81, 0x87, 0x01, 0, 0, 4},    // mov byte [rcx+0x187], 4
		[]byte{0x48, 0x8d, 0x05, 40, 0, 0, 0},      // lea rax, [rip+40]
		[]byte{0x48, 0x89, 0x81, 0xb0, 0x01, 0, 0}, // mov [rcx+0x1b0], rax
		[]byte{0x48, 0xb8}, []byte("127.0.0."),     // mov rax, …
		[]byte{0x48, 0x89, 0x07},                   // mov [rdi], rax
		[]byte{0x66, 0xc7, 0x47, 0x08, '1', 0},     // mov word [rdi+8], …
		[]byte{0xc6, 0x47, 0x17, 9},                // mov byte [rdi+23], 9
		[]byte{0x66, 0xc7, 0x47, 0x18, 0x31, 0x23}, // mov word [rdi+24], 9009
		[]byte{0x48, 0x89, 0xf8, 0xc3},             // mov rax, rdi; ret
		make([]byte, 3*24),
	)
}

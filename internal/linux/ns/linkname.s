// This file is empty. It lets the package declare functions without bodies,
// which rawfork.go takes from package runtime.

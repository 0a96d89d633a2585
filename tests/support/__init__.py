"""What the tests share: one helper of each kind. No test module imports another one."""

"""The exercises, one file each; ../exercise.py says what stands in one."""

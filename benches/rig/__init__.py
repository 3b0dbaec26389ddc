"""What the measuring programs of this folder share. Linux only: it reads /proc."""

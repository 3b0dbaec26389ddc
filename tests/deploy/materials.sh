# The bill of materials, and the list of packages in the program.

needs_program
succeeds "materials: the bill of materials is written" deploy/sbom "$work"
succeeds "materials: the program has its list of packages" objcopy --dump-section .dep-v0="$work/packages" "$program" /dev/null
suite materials python3 "$here/materials_facts.py" "$work" "$(rustc -vV | sed -n 's/^host: //p')"

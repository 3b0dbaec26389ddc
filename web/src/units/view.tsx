/** The view of units. */
export function UnitsView() {
  return (
    <section class="units-view">
      <h1>Units</h1>
    </section>
  );
}
